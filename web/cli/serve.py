"""``run_agent.py serve``: from settings to a server that listens."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from loguru import logger

from pipeline.log import import_quietly, setup_logging
from pipeline.settings.load import SettingsError, load_settings, old_names, prepare_data_dir
from pipeline.settings.tree import Settings
from web.cli.banner import banner
from web.cli.lesson import lesson_settings, read_own_lessons
from web.cli.listen import bind, is_loopback, look_at_door_ports, require_token
from web.tls import certificate_files, lan_addresses


def command_line(host: str | None, port: str | None, https: bool | None, lesson: str | None) -> dict[str, Any]:
    """The options as a part of the settings tree; ``None`` is not given. The settings' validation judges them."""
    given = {"host": host, "port": port, "https": https}
    server = {key: value for key, value in given.items() if value is not None}
    return {"server": server, "tutor": lesson_settings(lesson)}


def serve(config: Path | None, overrides: dict[str, Any]) -> None:
    """Serve until a signal ends it. Cheap checks come first and the heavy imports last.

    Raises:
        SettingsError: what keeps it from starting, in one line.
    """
    settings = load_settings(config, overrides=overrides)
    require_token(settings)
    read_own_lessons(settings.tutor)
    prepare_data_dir(settings)
    certificate = certificate_files(settings.server, settings.data_dir) if settings.server.https else None
    setup_logging(settings.log)
    for note in old_names(config):
        logger.info(note)
    for problem in memory_problems(settings):
        logger.warning("GPU memory: {}", problem)
    look_at_door_ports(settings)
    with bind(settings.server.host, settings.server.port) as listener:
        _run(settings, listener, certificate)


def memory_problems(settings: Settings) -> list[str]:
    """What does not fit onto the card; nobody knows the card better than the operator, so it is only told."""
    if not settings.engines:
        return []
    from pipeline.engine_manager.cards import read_cards
    from pipeline.engine_manager.gpu import verdicts

    return [problem for verdict in verdicts(settings, read_cards()[0]) for problem in verdict.problems]


def _run(settings: Settings, listener: socket.socket, certificate: tuple[Path, Path] | None) -> None:
    address, port = listener.getsockname()[:2]
    import_quietly()
    import uvicorn

    from web.app import create_app
    from web.cli.server import Server
    from web.serving import prepare_socket, uvicorn_options

    try:
        app = create_app(settings)
    except SettingsError:
        raise
    except ValueError as e:  # An engine or a lesson that the settings name and that cannot be used.
        logger.opt(exception=True).debug("the app could not be made")
        raise SettingsError(str(e)) from None

    def announce() -> None:
        print(
            banner(
                https=certificate is not None,
                address=address,
                port=port,
                lan=[] if is_loopback(address) else lan_addresses(),
                needs_token=settings.auth.token is not None,
                self_signed=certificate is not None and settings.server.cert_file is None,
            ),
            flush=True,
        )

    async def drain() -> None:
        if app.state.sessions.ready:
            await app.state.sessions.close()

    prepare_socket(listener)
    server = Server(
        uvicorn.Config(
            app,
            **uvicorn_options(settings),
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=settings.log.level in ("TRACE", "DEBUG"),
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
        ),
        on_listening=announce,
        drain=drain,
    )
    server.run(sockets=[listener])
