#!/usr/bin/env python3
"""Parley's one door: serve (the default), check, talk, models."""

import sys

# The same as in pyproject.toml and scripts/find-python. Old syntax up to here: an old Python must be able to say this.
TESTED = ((3, 11),)
if sys.version_info[:2] not in TESTED:
    sys.exit(
        "Parley is tested with Python %s, not %d.%d: run it with that one (`make run` looks for it)"  # noqa: UP031
        % (", ".join("%d.%d" % version for version in TESTED), sys.version_info[0], sys.version_info[1])  # noqa: UP031
    )

try:
    import typer
except ImportError:
    sys.exit("Parley's packages are not installed in %s: run `make run`, which installs them" % sys.prefix)  # noqa: UP031

from enum import StrEnum  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Annotated, NoReturn  # noqa: E402

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help="A self-hosted voice tutor for learners of English."
)

Config = Annotated[
    Path | None, typer.Option(help="YAML file with settings. Default: configs/embedded.yaml.", show_default=False)
]
Host = Annotated[str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", show_default=False)]
Port = Annotated[str | None, typer.Option(help="TCP port. Default: 7860.", show_default=False)]
Https = Annotated[
    bool | None, typer.Option("--https/--no-https", help="Serve TLS, self-signed by default.", show_default=False)
]

Lesson = Annotated[
    str | None,
    typer.Option(help="The lesson that calls start with: a name, or a file (docs/lessons.md).", show_default=False),
]


@app.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    https: Https = None,
    lesson: Lesson = None,
) -> None:
    """Without a command: serve."""
    if context.invoked_subcommand is None:
        serve(config, host, port, https, lesson)
    elif any(option is not None for option in (config, host, port, https, lesson)):
        stop(ValueError(f"options belong after the command: {context.invoked_subcommand} --option"))


@app.command()
def serve(config: Config = None, host: Host = None, port: Port = None, https: Https = None, lesson: Lesson = None) -> None:
    """Serve the page and every other door."""
    from pipeline.settings.load import SettingsError
    from web.cli import serve as command

    try:
        command.serve(config, command.command_line(host, port, https, lesson))
    except SettingsError as error:
        stop(error)


@app.command()
def check(
    config: Config = None,
    host: Host = None,
    port: Port = None,
    https: Https = None,
    lesson: Lesson = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Look at configuration, packages, ports and files. Exit code 1: something keeps it from serving."""
    from web.cli import check as command
    from web.cli.serve import command_line

    sys.exit(command.check(config, command_line(host, port, https, lesson), as_json=json))


@app.command()
def talk(
    wav: Annotated[
        list[Path] | None, typer.Option(help="A WAV file to say; give it once for each turn.", show_default=False)
    ] = None,
    mic: Annotated[bool, typer.Option("--mic", help="A call in this terminal, with its microphone and loudspeaker.")] = False,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="With --mic: you wear headphones, so you may interrupt by voice.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="The server. Default: http://127.0.0.1:7860.", show_default=False)] = None,
    transport: Annotated[str, typer.Option(help="webrtc or websocket.")] = "webrtc",
    lesson: Annotated[
        str | None,
        typer.Option(
            help="The lesson to take: a name, or a file, which a server of this call's own teaches. Default: the server's.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the tutor's voice to this WAV file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Talk to a server without a browser: with WAV files as the microphone, or in this terminal."""
    if mic == bool(wav):
        stop(ValueError("talk: give either --mic or WAV files (--wav)"))
    if mic and (json or out is not None):
        stop(ValueError("talk: --json and --out are for calls with WAV files"))
    from pipeline.settings.load import SettingsError
    from web.talk.command import talk_command
    from web.talk.own_server import own_server

    try:
        with own_server(url, lesson) as (address, name):
            if mic:
                from web.talk.terminal import terminal_command

                sys.exit(terminal_command(address, name, headphones=headphones))
            sys.exit(talk_command(address, wav or [], transport, json, out, name))
    except SettingsError as error:
        stop(error)


class ModelsAction(StrEnum):
    """What to do with the weights of models."""

    list = "list"
    download = "download"


@app.command()
def models(action: Annotated[ModelsAction, typer.Argument()] = ModelsAction.list, config: Config = None) -> None:
    """List the weights that a configuration wants, or download them. Exit code 1: some are missing, or cannot be had."""
    from pipeline.settings.load import SettingsError
    from web.cli import models as command

    try:
        sys.exit(command.fetch(config) if action is ModelsAction.download else command.show(config))
    except SettingsError as error:
        stop(error)


def stop(error: Exception) -> NoReturn:
    """End with what is wrong, in one line."""
    print(f"parley: {error}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
