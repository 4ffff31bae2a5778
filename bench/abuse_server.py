"""Parley as shipped, its limits and embedded engines included, with every door open. ``python -m bench.abuse_server``.

Only three things differ from the defaults: a session waits a second for a client that is gone, so that one flood's leftovers do
not hold the places of the next one; calls are not refused because the machine is busy, for the same reason; and the telephones'
doors have keys.
"""

from __future__ import annotations

import base64
from typing import Any

from bench.subject import add_probe, announce, prepare

CARRIERS: dict[str, dict[str, Any]] = {
    "twilio": {"auth_token": "0" * 32},
    "telnyx": {"public_key": base64.b64encode(bytes(32)).decode()},
    "plivo": {"auth_token": "0" * 32},
    "vonage": {"signature_secret": "0" * 32},
    "exotel": {"stream_key": "bench-key", "stream_token": "bench-token"},
}


def main() -> None:
    """Serve until a signal."""
    listener, where = prepare()
    announce(listener)

    from pipeline.log import import_quietly, setup_logging
    from pipeline.settings.tree import LogSettings

    setup_logging(LogSettings(level="ERROR"))
    import_quietly()

    import uvicorn
    from fastapi.routing import APIRoute

    from bench.settings import bench_settings
    from web.app import create_app
    from web.serving import prepare_socket, uvicorn_options

    settings = bench_settings(
        data_dir=where.data_dir,
        server={"host": "127.0.0.1", "port": 0},
        limits={"max_loop_lag_ms": 0, "max_packet_late_ms": 0},
        session={"resume_for_s": 1.0},
        phone={"public_url": "https://tutor.example.org", "return_within_s": 1.0, "audiosocket": {"port": 0}, **CARRIERS},
    )
    prepare_socket(listener)
    app = create_app(settings)
    add_probe(app)

    async def audiosocket() -> dict[str, int | None]:
        return {"port": app.state.parley.audiosocket.port}

    app.router.routes.insert(0, APIRoute("/bench/audiosocket", audiosocket, methods=["GET"]))
    options = uvicorn_options(settings)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_config=None, access_log=False, **options)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
