"""Logging: one place for all libraries, the call's id on every line, nothing secret in tracebacks."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from loguru import logger

from pipeline.log import setup_logging, without_secrets
from pipeline.settings.tree import LogSettings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    libraries = [known for known in logging.root.manager.loggerDict.values() if isinstance(known, logging.Logger)]
    before = [(known, known.handlers[:], known.level, known.propagate) for known in [logging.getLogger(), *libraries]]
    new = set(logging.root.manager.loggerDict)
    yield
    for known, handlers, level, propagate in before:
        known.handlers, known.propagate = handlers, propagate
        known.setLevel(level)
    for name in set(logging.root.manager.loggerDict) - new:
        logging.getLogger(name).setLevel(logging.NOTSET)
    logger.remove()
    logger.configure(extra={})
    logger.add(sys.stderr)


def start(
    format: Literal["text", "json"], level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
) -> io.StringIO:
    stream = io.StringIO()
    setup_logging(LogSettings(format=format, level=level), stream)
    return stream


def test_json_lines() -> None:
    stream = start("json")
    logger.bind(stage="stt").info("braces {} and\nlines", 1)
    with logger.contextualize(call="abc"):
        logger.warning("{not a field}")
        logging.getLogger("uvicorn.error").error("from %s", "uvicorn")
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["call"] for row in rows] == ["-", "abc", "abc"]
    assert [row["message"] for row in rows] == ["braces 1 and\nlines", "{not a field}", "from uvicorn"]
    assert rows[0]["stage"] == "stt"
    assert [row["level"] for row in rows] == ["INFO", "WARNING", "ERROR"]
    assert rows[2]["name"] == "uvicorn.error"


def test_text_lines_carry_the_call() -> None:
    stream = start("text")
    with logger.contextualize(call="abc"):
        logger.info("<b>markup</b> and {braces}")
    (line,) = stream.getvalue().splitlines()
    assert " abc " in line
    assert line.endswith("<b>markup</b> and {braces}")


async def test_tasks_of_a_call_carry_its_id() -> None:
    stream = start("json")

    async def work() -> None:
        await asyncio.sleep(0)
        logger.info("inside")

    with logger.contextualize(call="abc"):
        task = asyncio.create_task(work())
    logger.info("outside")
    await task
    rows = {row["message"]: row["call"] for row in map(json.loads, stream.getvalue().splitlines())}
    assert rows == {"outside": "-", "inside": "abc"}


@pytest.mark.parametrize("format", ["text", "json"])
def test_tracebacks_show_no_values(format: Literal["text", "json"]) -> None:
    stream = start(format)

    def fail(token: str) -> None:
        raise ValueError("broken" if token else "")

    try:
        fail("hunter2")
    except ValueError:
        logger.exception("it failed")
    assert "ValueError: broken" in stream.getvalue()
    assert "hunter2" not in stream.getvalue().replace('fail("hunter2")', "").replace('fail(\\"hunter2\\")', "")


def test_level_is_a_floor_for_every_library() -> None:
    stream = start("json", "WARNING")
    logger.info("no")
    logging.getLogger("sqlalchemy").info("no")
    logging.getLogger("aioice").warning("yes")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["yes"]


def test_set_up_twice_writes_once() -> None:
    start("text")
    stream = start("text")
    logger.info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_pipecat_is_imported_without_its_banner() -> None:
    code = "from pipeline.log import import_quietly; import_quietly(); import pipecat"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


SECRETS = (
    "< authorization: Bearer S3CRET",
    "< Authorization: S3CRET",
    "[(b'Authorization', b'Basic S3CRET'), (b'Host', b'x')]",
    "> set-cookie: parley_session=S3CRET; HttpOnly",
    "< cookie: other=1; parley_session=S3CRET",
    '127.0.0.1:1 - "GET /status?token=S3CRET HTTP/1.1" 401',
    "< GET /ws/rtvi?level=beginner&resume=S3CRET HTTP/1.1",
    "< sec-websocket-protocol: realtime, openai-insecure-api-key.S3CRET",
    """< TEXT '{"type":"resume","token":"S3CRET"}' [37 bytes]""",
    """> TEXT '{"type":"connected","resume_token": "S3CRET","level":"beginner"}'""",
)


@pytest.mark.parametrize("line", SECRETS)
def test_libraries_write_no_secrets(line: str) -> None:
    stream = start("json", "DEBUG")
    logging.getLogger("uvicorn.error").debug(line)
    (row,) = (json.loads(written) for written in stream.getvalue().splitlines())
    assert row["message"] == line.replace("S3CRET", "…")


@pytest.mark.parametrize("line", ["max_tokens=200", "the token is wrong", '{"tokens": 3}', "author: me", "a session resumed"])
def test_what_is_no_secret_stays(line: str) -> None:
    assert without_secrets(line) == line
