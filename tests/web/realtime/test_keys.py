"""Who is let in: the server's token, as a header or as a browser's subprotocol, and ephemeral keys."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from loguru import logger
from openai import AsyncOpenAI, AuthenticationError
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.web.realtime.conftest import session
from web.doors.realtime.client_secrets import ClientSecrets, key_in_subprotocols
from web.doors.realtime.config import Config

TOKEN = "sesame-open-1"


def test_a_key_is_good_until_it_expires() -> None:
    keys = ClientSecrets(keep=2)
    first, made = keys.make(Config(speed=1.25), 60.0, now=1_000.0)
    assert first.startswith("ek_")
    assert made.expires_at == 1_060.0
    assert keys.get(first, 1_059.9) == made
    assert keys.get(first, 1_060.0) is None
    assert keys.get("ek_of_nobody", 1_000.0) is None
    keys.make(Config(), 60.0, now=1_061.0)
    assert len(keys) == 1
    second, _ = keys.make(Config(), 60.0, now=1_062.0)
    keys.make(Config(), 60.0, now=1_063.0)
    assert len(keys) == 2
    assert keys.get(second, 1_064.0) is not None


def test_a_key_among_subprotocols() -> None:
    assert key_in_subprotocols("realtime, openai-insecure-api-key.abc, other") == "abc"
    assert key_in_subprotocols("realtime") is None
    assert key_in_subprotocols(None) is None


@pytest.fixture
def log() -> Iterator[StringIO]:
    """What the server writes to its log."""
    text = StringIO()
    sink = logger.add(text, level="DEBUG")
    yield text
    logger.remove(sink)


async def test_keys_open_the_realtime_doors_and_no_others(serve: Any, log: StringIO) -> None:
    locked = await serve(auth={"token": TOKEN})
    async with session(locked.url, key=TOKEN) as client:
        assert client.seen[0]["session"]["object"] == "realtime.session"
    with pytest.raises(InvalidStatus) as refused:
        async with session(locked.url, key="wrong"):
            pass
    assert refused.value.response.status_code == 401
    async with AsyncOpenAI(base_url=f"{locked.url}/v1", api_key=TOKEN) as openai:
        wanted: Any = {"type": "realtime", "output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}
        made = await openai.realtime.client_secrets.create(
            session=wanted, expires_after={"anchor": "created_at", "seconds": 60}
        )
        assert made.value.startswith("ek_")
    async with session(locked.url, key=made.value) as client:
        configured = client.seen[0]["session"]
        assert configured["output_modalities"] == ["text"]
        assert configured["audio"]["input"].get("turn_detection") is None
        assert (await client.respond())["status"] == "completed"
        assert client.audio == b""
    async with AsyncOpenAI(base_url=f"{locked.url}/v1", api_key=made.value, max_retries=0) as openai:
        with pytest.raises(AuthenticationError) as wrong:
            await openai.realtime.client_secrets.create()
        assert wrong.value.type == "authentication_error"
        assert wrong.value.code == "unauthorised"
    address = f"ws{locked.url.removeprefix('http')}/v1/realtime?model=parley"
    for key in (TOKEN, made.value):
        protocols: Any = ["realtime", f"openai-insecure-api-key.{key}"]
        async with connect(address, subprotocols=protocols) as socket:
            assert socket.subprotocol == "realtime"
            assert json.loads(await socket.recv())["type"] == "session.created"
    with pytest.raises(InvalidStatus):
        async with connect(address, subprotocols=["realtime", "openai-insecure-api-key.ek_wrong"]):  # type: ignore[list-item]
            pass
    await locked.until(lambda: "ended by the learner" in log.getvalue(), "the calls end")
    assert TOKEN not in log.getvalue()
    assert made.value not in log.getvalue()


async def test_a_key_that_is_none_is_refused_even_where_nobody_needs_one(server: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with session(server.url, key="ek_expired"):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["type"] == "authentication_error"


async def test_what_cannot_be_configured_gets_no_key(server: Any) -> None:
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as openai:
        with pytest.raises(Exception, match="follows its lessons") as refused:
            await openai.realtime.client_secrets.create(session={"type": "realtime", "instructions": "You are a pirate"})
        assert refused.value.status_code == 400  # type: ignore[attr-defined]
        assert refused.value.body["param"] == "session.instructions"  # type: ignore[attr-defined]
        with pytest.raises(Exception, match="greater than or equal to 10"):
            await openai.realtime.client_secrets.create(expires_after={"anchor": "created_at", "seconds": 1})


@pytest.mark.parametrize(
    "query", [{"lesson": "nowhere"}, {"level": "expert"}, {"call_id": "rtc_1"}, {"intent": "transcription"}]
)
async def test_an_address_that_cannot_be_served_is_refused(server: Any, query: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with session(server.url, query=query):
            pass
    assert refused.value.response.status_code == 400
    assert next(iter(query)) in refused.value.response.body.decode()
