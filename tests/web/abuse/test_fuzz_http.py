"""Signalling and uploads under random bodies: a problem document that says what is wrong, never a failure of the server's."""

from __future__ import annotations

import asyncio
import io
import json
import random
import wave
from typing import Any

import httpx
import pytest
from aiortc import RTCPeerConnection
from aiortc.mediastreams import AudioStreamTrack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import connect

from tests.web.abuse.messages import values

WITHIN_S = 60.0
fuzzed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_refused_or_done(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text[:500]
    if response.status_code >= 400:
        assert response.headers["content-type"].startswith("application/problem+json")
        assert response.json()["detail"]
        assert len(response.content) < 10_000


@pytest.fixture(scope="module")
def real_offer() -> str:
    """The SDP of a client that means it."""

    async def make() -> str:
        pc = RTCPeerConnection()
        pc.addTrack(AudioStreamTrack())
        pc.createDataChannel("chat")
        await pc.setLocalDescription(await pc.createOffer())
        sdp = pc.localDescription.sdp
        await pc.close()
        return str(sdp)

    return asyncio.run(make())


def mangle(sdp: str, seed: int, changes: int) -> str:
    """Lines of an SDP left out, doubled, moved, cut, or with other numbers in them."""
    draw, lines = random.Random(seed), sdp.split("\r\n")
    for _ in range(changes):
        at = draw.randrange(len(lines))
        match draw.randrange(6):
            case 0:
                lines = lines[:at] + lines[at + 1 :] or [""]
            case 1:
                lines.insert(draw.randrange(len(lines) + 1), lines[at])
            case 2:
                lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
            case 3:
                lines[at] = "".join(draw.choice("0123456789-") if c.isdigit() else c for c in lines[at])
            case 4:
                lines[at] += draw.choice([" ", ":", "9" * 400, "\x00", "ü", "a=" * 50])
            case 5:
                lines = lines[:at] or [""]
    return "\r\n".join(lines)


# Each of these that is a fit offer still begins a call.
@settings(fuzzed, max_examples=25)
@given(seed=st.integers(0, 2**32), changes=st.integers(1, 8))
def test_mangled_offers(nothing_broke, real_offer, seed, changes):
    body = {"sdp": mangle(real_offer, seed, changes), "type": "offer"}
    assert_refused_or_done(httpx.post(f"{nothing_broke.url}/api/offer", json=body, timeout=WITHIN_S))


@fuzzed
@given(body=values, method=st.sampled_from(["POST", "PATCH"]))
def test_bodies_that_are_no_offers(nothing_broke, body, method):
    raw = json.dumps(body)  # with NaN and Infinity, which are no JSON
    kind = {"Content-Type": "application/json"}
    assert_refused_or_done(httpx.request(method, f"{nothing_broke.url}/api/offer", content=raw, headers=kind, timeout=WITHIN_S))


@fuzzed
@given(
    fields=st.fixed_dictionaries(
        {"sdp": st.text(max_size=300) | values, "type": st.sampled_from(["offer", "answer", "rollback"]) | values},
        optional={"pc_id": values, "restart_pc": values, "request_data": values, "requestData": values, "candidates": values},
    )
)
def test_offers_with_the_wrong_things_in_them(nothing_broke, fields):
    kind = {"Content-Type": "application/json"}
    url = f"{nothing_broke.url}/api/offer"
    assert_refused_or_done(httpx.post(url, content=json.dumps(fields), headers=kind, timeout=WITHIN_S))


def recording() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(9_600))
    return file.getvalue()


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Noise, or a WAV file with bytes changed and its end cut off."""
    if draw(st.booleans()):
        return draw(st.sampled_from([b"", b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3"])) + draw(
            st.binary(max_size=2_000)
        )
    data = bytearray(recording())
    for at, value in draw(st.lists(st.tuples(st.integers(0, 47), st.integers(0, 255)), max_size=6)):
        data[at] = value
    return bytes(data[: draw(st.integers(0, len(data)))])


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.lists(files(), min_size=1, max_size=2))
def test_uploads_of_anything(nothing_broke, data):
    url = f"ws://127.0.0.1:{nothing_broke.port}/ws/conversation"
    with connect(url, max_size=None, max_queue=None, compression=None, close_timeout=0.5) as socket:
        hello: dict[str, Any] = json.loads(socket.recv(WITHIN_S))
        for each in data:
            url = f"{nothing_broke.url}/api/sessions/{hello['session_id']}/audio"
            response = httpx.post(url, content=each, timeout=WITHIN_S)
            assert response.status_code in (200, 409, 413, 415, 422), response.text[:500]
            assert_refused_or_done(response)


@fuzzed
@given(name=st.text(min_size=1, max_size=80), body=st.binary(max_size=100))
def test_sessions_that_there_are_not(nothing_broke, name, body):
    from urllib.parse import quote

    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/report"), ("GET", "/export"), ("POST", "/audio")):
        url = f"{nothing_broke.url}/api/sessions/{quote(name, safe='')}{path}"
        assert_refused_or_done(httpx.request(method, url, content=body, timeout=WITHIN_S))
