"""Offers and candidates: what is refused, how, and what a refusal leaves behind."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
from asyncio.subprocess import DEVNULL

import pytest
from aiortc import RTCPeerConnection

from pipeline.settings.tree import IceServer, TurnServerSettings, WebRTCSettings
from pipeline.transports.signalling import BadOffer, Signalling, UnknownPeer, turn_credentials
from pipeline.transports.webrtc_warmup import warm_up


async def test_failed_build_is_passed_on_and_leaves_nothing(room, kit):
    client = kit.client()
    room.clients.append(client)
    seen = []

    async def build(transport):
        seen.append(transport)
        raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        await room.signalling.offer(await client.offer(), "offer", build)
    assert room.signalling.peers == 0
    assert seen[0]._peer._pc.connectionState == "closed"


async def test_the_call_is_built_before_the_answer(room, kit):
    client = kit.client()
    room.clients.append(client)
    built = asyncio.Event()

    async def build(transport):
        assert transport._peer._pc.signalingState == "have-remote-offer"
        built.set()
        return await room.build(transport)

    answer, call = await room.signalling.offer(await client.offer(), "offer", build)
    assert built.is_set()
    assert answer["type"] == "answer"
    assert call in room.calls


async def test_call_whose_answer_fails_is_told_that_its_client_is_gone(room, kit, monkeypatch):
    client = kit.client()
    room.clients.append(client)

    async def no_answer(self):
        raise BadOffer("no")

    monkeypatch.setattr("pipeline.transports.webrtc_connection.Peer.answer", no_answer)
    with pytest.raises(BadOffer):
        await room.signalling.offer(await client.offer(), "offer", room.build)
    await kit.eventually(lambda: room.calls[0].lost)
    assert room.signalling.peers == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sdp: "", "empty"),
        (lambda sdp: "hello", "no audio"),
        (lambda sdp: sdp + "x" * 100_001, "longer"),
        (lambda sdp: sdp.replace("m=audio", "m=video"), "no audio"),
        (lambda sdp: sdp.replace("opus/48000", "speex/8000"), "Opus"),
        (lambda sdp: sdp.replace("a=group:BUNDLE ", "a=group:BUNDLE x9 "), "bundles with a section 'x9'"),
        (lambda sdp: sdp.replace("a=ice-pwd:", "a=x-pwd:"), "not understood"),
        (lambda sdp: sdp.replace("a=rtcp-mux", "a=x"), "not understood"),
        (lambda sdp: sdp.replace("m=audio ", "m=audio x"), "not understood"),
        (lambda sdp: sdp[: len(sdp) // 2], "."),
    ],
)
async def test_bad_offer_says_what_is_wrong(room, kit, change, said):
    client = kit.client()
    room.clients.append(client)
    with pytest.raises(BadOffer, match=said):
        await room.signalling.offer(change(await client.offer()), "offer", room.build)
    assert room.signalling.peers == 0
    assert room.calls == []


async def test_answer_for_an_offer_is_refused(room, kit):
    client = kit.client()
    room.clients.append(client)
    with pytest.raises(BadOffer, match="type"):
        await room.signalling.offer(await client.offer(), "answer", room.build)


async def test_unknown_peer_is_an_error_and_no_new_call(room, kit):
    client = kit.client()
    room.clients.append(client)
    sdp = await client.offer()
    for restart in (False, True):
        with pytest.raises(UnknownPeer, match="nobody"):
            await room.signalling.offer(sdp, "offer", room.build, pc_id="nobody", restart_pc=restart)
    with pytest.raises(UnknownPeer):
        await room.signalling.candidates("nobody", [])
    assert room.calls == []


async def test_connects_by_trickled_candidates_alone(room, kit):
    client = kit.client()
    room.clients.append(client)
    sdp = await client.offer()
    bare = "".join(line + "\r\n" for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of-candidates")))
    answer, _ = await room.signalling.offer(bare, "offer", room.build)
    await client.accept(answer)
    lines = [line.removeprefix("a=") for line in sdp.splitlines() if line.startswith("a=candidate:")]
    items = [{"candidate": line, "sdp_mid": "0", "sdp_mline_index": 0} for line in lines]
    await room.signalling.candidates(answer["pc_id"], [*items, {"candidate": "", "sdp_mid": "0", "sdp_mline_index": 0}])
    await kit.eventually(lambda: len(client.packets) > 2)


@pytest.mark.parametrize(
    "item",
    [
        {"candidate": "candidate:nonsense", "sdp_mid": "0", "sdp_mline_index": 0},
        {"candidate": "candidate:1 1 udp x 1.2.3.4 5 typ host", "sdp_mid": "0", "sdp_mline_index": 0},
        {"candidate": "candidate:1 1 udp 1 not-an-address 5 typ host", "sdp_mid": "0", "sdp_mline_index": 0},
        {"candidate": "candidate:1 1 udp 1 1.2.3.4 5 typ host"},
        {"candidate": 5, "sdp_mid": "0", "sdp_mline_index": 0},
        {"sdp_mid": "0", "sdp_mline_index": 0},
        7,
    ],
)
async def test_bad_candidate_is_refused_and_the_connection_lives(room, kit, item):
    client, call = await room.connect()
    with pytest.raises(BadOffer, match="candidate"):
        await room.signalling.candidates(client.pc_id, [item])
    seen = len(client.packets)
    await kit.eventually(lambda: len(client.packets) > seen + 5)
    assert call.lost == []


async def test_too_many_candidates_are_refused(room, kit):
    client, _ = await room.connect()
    item = {"candidate": "candidate:1 1 udp 1 1.2.3.4 5 typ host", "sdp_mid": "0", "sdp_mline_index": 0}
    with pytest.raises(BadOffer, match="64"):
        await room.signalling.candidates(client.pc_id, [item] * 65)


async def test_closed_signalling_refuses_and_closes_its_calls(kit):
    room = kit.room()
    client, _ = await room.connect()
    await room.signalling.close()
    await room.signalling.close()
    assert room.signalling.peers == 0
    await kit.eventually(client.closed.is_set)
    other = kit.client()
    room.clients.append(other)
    with pytest.raises(BadOffer, match="shutting down"):
        await room.signalling.offer(await other.offer(), "offer", room.build)
    await room.close()


async def test_unreachable_stun_server_does_not_hold_up_the_answer(kit):
    # A socket of ours that never answers stands for the server. aiortc alone waits 5 s for it.
    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    port = silent.get_extra_info("sockname")[1]
    room = kit.room(ice_servers=[IceServer(urls=[f"stun:127.0.0.1:{port}"])], gather_timeout_s=0.2)
    client = kit.client()
    room.clients.append(client)
    sdp = await client.offer()
    waits = []
    real_wait = asyncio.wait

    async def wait(tasks, **kwargs):
        waits.append(kwargs.get("timeout"))
        return await real_wait(tasks, **kwargs)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("aioice.ice.asyncio.wait", wait)
            await room.signalling.offer(sdp, "offer", room.build)
        assert waits[0] == 0.2
    finally:
        await room.close()
        silent.close()


def test_turn_credentials_are_those_of_coturn():
    name, password = turn_credentials("north", "ana", 3_600, 1_000_000.9)
    assert name == "1003600:ana"
    assert password == base64.b64encode(hmac.new(b"north", b"1003600:ana", hashlib.sha1).digest()).decode()


@pytest.fixture
async def coturn(tmp_path):
    """A real coturn on loopback that shares the secret "north"; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}", "--realm=parley"]
    secret = ["--use-auth-secret", "--static-auth-secret=north", "--allow-loopback-peers", "--cli-password=x"]
    files = ["--log-file=stdout", f"--pidfile={tmp_path / 'pid'}", f"--userdb={tmp_path / 'db'}"]
    server = await asyncio.create_subprocess_exec(
        "turnserver",
        "-n",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        *options,
        *secret,
        *files,
        cwd=tmp_path,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    yield port
    server.terminate()
    await server.wait()


async def test_real_coturn_gives_a_relay_for_our_credentials_and_none_for_others(kit, coturn):
    async def relayed(secret):
        turn = TurnServerSettings(urls=[f"turn:127.0.0.1:{coturn}?transport=udp"], secret=secret)
        room = kit.room(turn=turn, gather_timeout_s=2.0)
        client = kit.client()
        room.clients.append(client)
        try:
            answer, _ = await room.signalling.offer(await client.offer(), "offer", room.build)
        finally:
            await room.close()
        return "typ relay" in answer["sdp"]

    for _ in range(30):  # until it listens
        if await relayed("north"):
            break
    else:
        pytest.fail("coturn gave no relay")
    assert not await relayed("south")


async def test_ice_servers_for_the_client():
    settings = WebRTCSettings(
        ice_servers=[IceServer(urls=["stun:stun.example.org"]), IceServer(urls=["turn:a"], username="u", credential="p")],
        turn=TurnServerSettings(urls=["turn:turn.example.org?transport=udp"], secret="north", ttl_s=600),
    )
    signalling = Signalling(settings, now=lambda: 1_000.0)
    name, password = turn_credentials("north", "ana", 600, 1_000.0)
    assert signalling.ice_servers_for_client("ana") == [
        {"urls": ["stun:stun.example.org"]},
        {"urls": ["turn:a"], "username": "u", "credential": "p"},
        {"urls": ["turn:turn.example.org?transport=udp"], "username": name, "credential": password},
    ]
    assert Signalling(WebRTCSettings()).ice_servers_for_client() == []


def test_malformed_ice_server_is_named_at_once():
    with pytest.raises(ValueError, match=r"webrtc\.ice_servers"):
        Signalling(WebRTCSettings(ice_servers=[IceServer(urls=["http://nowhere"])]))


async def test_warm_up_connects_and_leaves_nothing(kit):
    assert await warm_up(WebRTCSettings()) is not None
    await kit.eventually(lambda: len(asyncio.all_tasks()) == 1)


async def test_warm_up_that_cannot_connect_does_no_harm(monkeypatch):
    async def refuse(self, description):
        raise OSError("no network")

    monkeypatch.setattr(RTCPeerConnection, "setLocalDescription", refuse)
    assert await warm_up(WebRTCSettings()) is None
