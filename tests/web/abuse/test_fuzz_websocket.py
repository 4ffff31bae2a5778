"""The WebSocket door under random conversations: every one is answered in the protocol, or closed with a code that it names."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pipeline.messages import ServerMessage
from tests.running_server import RunningServer
from tests.web.abuse.messages import binaries, texts

WITHIN_S = 30.0
CODES = {1000, 1008, 1009}
_answers: TypeAdapter[ServerMessage] = TypeAdapter(ServerMessage)

conversations = st.lists(texts() | binaries, max_size=25)


def hold(server: RunningServer, said: list[str | bytes], query: str) -> int | None:
    """Say all of it and then ``ping``. The code by which the server closed; ``None`` where it answered."""
    with connect(f"ws://127.0.0.1:{server.port}/ws/conversation{query}", max_size=None, compression=None) as socket:
        try:
            for message in said:
                socket.send(message)
            socket.send('{"type":"ping"}')
            pings = 0
            for raw in iter(lambda: socket.recv(WITHIN_S), None):
                if isinstance(raw, bytes):
                    assert len(raw) % 2 == 0
                    continue
                answer = _answers.validate_python(json.loads(raw))
                if answer.type == "error":
                    assert 0 < len(answer.message) < 1_000
                if answer.type == "pong":
                    pings += 1
                    # Those of the conversation itself come first, and each has one answer.
                    if pings > sum(is_ping(message) for message in said):
                        return None
        except ConnectionClosed:
            return socket.close_code
    raise AssertionError("unreachable")


def is_ping(message: str | bytes) -> bool:
    if isinstance(message, bytes):
        return False
    try:
        return bool(json.loads(message) == {"type": "ping"})
    except ValueError:
        return False


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=conversations, extras=st.booleans())
def test_any_conversation_is_answered_or_closed(nothing_broke, said, extras):
    assert hold(nothing_broke, said, "?extras=1" if extras else "") in CODES | {None}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(["extras", "level", "lesson", "temperature", "max_tokens", "speech_rate", "resume", "record", "x"]),
        st.text(st.characters(codec="utf-8"), max_size=60) | st.integers().map(str),
        max_size=5,
    )
)
def test_any_query_gets_a_call_or_a_reason(nothing_broke, query):
    from urllib.parse import urlencode

    assert hold(nothing_broke, [], "?" + urlencode(query)) in CODES | {None}
