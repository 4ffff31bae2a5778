"""Logging, set up once per process: loguru to stderr as text or JSON, with the call's id on every line.

``with logger.contextualize(call=session_id):`` marks what a call and its tasks write. Libraries that use the standard
``logging`` are led into the same sink.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from pipeline.settings.tree import LogSettings

if TYPE_CHECKING:
    from loguru import Message, Record

NO_CALL = "-"
_TEXT = (
    "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <7}</level> <cyan>{extra[call]}</cyan> "
    "<dim>{name}</dim> {message}\n{exception}"
)

# Libraries that say more at INFO than an operator wants to read.
_QUIET = dict.fromkeys(("aioice", "aiortc", "httpx", "httpcore", "uvicorn.error"), logging.WARNING)


# What lets somebody in, as libraries write it at DEBUG: headers, addresses, and messages in JSON.
_SECRETS = re.compile(
    r"""( \bauthorization['"]?\s*[:,]\s*b?['"]?(?:\w+[ ])?  # a header, with its scheme
        | \bparley_session=                                # the cookie of a login
        | [?&](?:token|resume)=                            # in an address
        | \bopenai-insecure-api-key\.                      # in a subprotocol
        | "(?:resume_)?token"\s*:\s*"
        )[^\s"'&;,]+""",
    re.IGNORECASE | re.VERBOSE,
)


def without_secrets(text: str) -> str:
    """``text`` with an ellipsis for each token, key and cookie in it that is recognised by what stands before it."""
    return _SECRETS.sub(r"\1…", text)


class _ToLoguru(logging.Handler):
    """Hands a record of the standard ``logging`` to loguru, without secrets, under the name and line that wrote it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno

        def named(target: Record) -> None:
            target["name"], target["function"], target["line"] = record.name, record.funcName, record.lineno

        logger.patch(named).opt(exception=record.exc_info).log(level, "{}", without_secrets(record.getMessage()))


def setup_logging(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send everything that is logged to ``stream`` (stderr). May be called again with other settings."""
    stream = stream if stream is not None else sys.stderr
    logger.configure(extra={"call": NO_CALL})
    logger.remove()
    # diagnose=False: values of variables in tracebacks would show learners' words and secrets.
    if settings.format == "json":

        def write_json(message: Message) -> None:
            stream.write(json_line(message.record))
            stream.flush()

        logger.add(write_json, level=settings.level, format="{message}", diagnose=False, backtrace=False)
    else:
        logger.add(stream, level=settings.level, format=lambda _: _TEXT, diagnose=False, backtrace=False)

    root = logging.getLogger()
    root.handlers = [_ToLoguru()]
    root.setLevel(max(logger.level(settings.level).no, logging.DEBUG))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(level if settings.level not in ("TRACE", "DEBUG") else logging.NOTSET)


def json_line(record: Record) -> str:
    """One log entry as a line of JSON: ``time`` (ISO 8601), ``level``, ``call``, ``name``, ``message``, then what was bound."""
    entry: dict[str, Any] = {
        "time": record["time"].isoformat(timespec="milliseconds"),
        "level": record["level"].name,
        "call": record["extra"].get("call", NO_CALL),
        "name": record["name"],
        "message": record["message"],
    }
    entry.update((key, value) for key, value in record["extra"].items() if key not in entry)
    if record["exception"] is not None:
        entry["exception"] = "".join(traceback.format_exception(*record["exception"]))
    return json.dumps(entry, ensure_ascii=False, default=str) + "\n"


def import_quietly() -> None:
    """Import pipecat without its banner in the log."""
    if "pipecat" not in sys.modules:
        # Its package announces itself under this name while it is imported, whatever the level is.
        logger.disable("pipecat")
        try:
            import pipecat  # noqa: F401
        finally:
            logger.enable("pipecat")
