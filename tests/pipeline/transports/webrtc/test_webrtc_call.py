"""Messages, readiness, loss of the client, and what is left when a call is over."""

from __future__ import annotations

import asyncio
import gc
import json
import threading

import psutil
import pytest
from aiortc import RTCSessionDescription
from pipecat.frames.frames import ClientConnectedFrame, OutputTransportMessageUrgentFrame

from pipeline.messages import AiText, EndConversation, SetLevel, Transcript

READY = {"label": "rtvi-ai", "id": "1", "type": "client-ready", "data": {"version": "1.0.0", "about": {"library": "test"}}}


def client_message(kind, **fields):
    return {"label": "rtvi-ai", "id": "2", "type": "client-message", "data": {"t": kind, "d": fields}}


async def test_plain_client_speaks_the_websocket_protocol(room, kit):
    client, call = await room.connect()
    await call.transport.send(Transcript(text="early", is_final=True))  # before it is known what the client speaks
    await client.send({"type": "ping"})
    await kit.eventually(lambda: client.of_type("pong"))
    assert client.messages == [{"type": "transcript", "text": "early", "is_final": True}, {"type": "pong"}]
    assert call.transport.speaks_rtvi is False
    assert call.ready == 1
    await client.send({"type": "set_level", "level": "advanced"})
    await client.send({"type": "end_conversation"})
    await kit.eventually(lambda: len(call.commands) == 2)
    assert call.commands == [SetLevel(level="advanced"), EndConversation()]
    # RTVI of the pipeline is not for this client.
    message = {"label": "rtvi-ai", "type": "bot-llm-text", "data": {"text": "x"}}
    await call.worker.queue_frame(OutputTransportMessageUrgentFrame(message=message))
    await call.transport.send(AiText(text="last", is_complete=True))
    await kit.eventually(lambda: client.of_type("ai_text"))
    assert not client.of_type("bot-llm-text")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("{", "JSON"),
        ("[1]", "object"),
        ('{"type": "dance"}', "unknown message type 'dance'"),
        ('{"type": "set_level", "level": "expert"}', "set_level: level"),
        ('{"type": "playout"}', "either"),
        ('{"type": "playout", "rtp_timestamp": 1, "sample": 2}', "either"),
        ('{"type": "playout", "rtp_timestamp": 4294967296}', "rtp_timestamp"),
        (b"\x00\x01", "binary"),
        (json.dumps({"type": "text", "text": "x" * 70_000})[:65_540], "longer"),
        ({"label": "rtvi-ai", "id": "1", "type": "client-message", "data": {"d": {}}}, "'t'"),
        ({"label": "rtvi-ai", "id": "1", "type": "client-message", "data": {"t": "ping", "d": [1]}}, "object"),
        ({"label": "rtvi-ai", "id": "1", "type": "client-message", "data": {"t": "dance"}}, "dance"),
        ({"label": "rtvi-ai", "id": "1"}, "type"),
    ],
)
async def test_bad_message_is_answered_and_the_call_goes_on(room, kit, sent, said):
    client, call = await room.connect()
    await client.send(sent)
    # A binary first message tells no language; one more does.
    await client.send(client_message("ping") if isinstance(sent, dict) else {"type": "ping"})
    (error,) = await kit.eventually(lambda: client.of_type("error"))
    assert said in error["message"]
    await kit.eventually(lambda: client.of_type("pong"))
    assert call.lost == []


async def test_rtvi_client_gets_bot_ready_and_our_messages_as_server_messages(rtvi_room, kit):
    client, call = await rtvi_room.connect()
    await client.send({"type": "signalling", "message": {"type": "trackStatus", "receiver_index": 0, "enabled": True}})
    await client.send("ping: 1234")
    await call.transport.send(Transcript(text="early", is_final=False))
    await asyncio.sleep(0.1)
    assert call.ready == 0
    assert client.messages == []
    await client.send(READY)
    await kit.eventually(lambda: client.of_type("bot-ready"))
    await kit.eventually(lambda: call.ready)
    assert call.transport.speaks_rtvi is True
    (early,) = [m for m in client.messages if m["type"] == "server-message"]
    assert early == {
        "label": "rtvi-ai",
        "type": "server-message",
        "data": {"type": "transcript", "text": "early", "is_final": False},
    }
    await client.send(client_message("set_level", level="beginner"))
    await client.send(client_message("ping"))
    await kit.eventually(lambda: call.commands and client.of_type("pong"))
    assert call.commands == [SetLevel(level="beginner")]
    # What is RTVI's own passes the pipeline, also from the first processor on: the probe stands behind it.
    written = {"content": "hello", "options": {"audio_response": False}}
    await client.send({"label": "rtvi-ai", "id": "3", "type": "send-text", "data": written})
    await kit.eventually(lambda: [m for m in call.probe.rtvi() if m["type"] == "send-text"])
    assert not [m for m in call.probe.rtvi() if m["type"] == "client-message"]
    # No renegotiation is ever asked for.
    assert not [m for m in client.messages if m.get("type") == "signalling"]


async def test_client_without_messages_is_ready_after_a_while(room, kit):
    _, call = await room.connect(kit.client(channel=False))
    await kit.eventually(lambda: call.ready == 1)
    await call.transport.send(Transcript(text="to nobody", is_final=True))
    assert any(isinstance(f, ClientConnectedFrame) for f in call.probe.frames)


async def test_client_js_offer_of_video_and_screen_is_answered_with_audio_alone(room, kit):
    client = kit.client()
    client.pc.addTransceiver("video", direction="sendrecv")
    client.pc.addTransceiver("video", direction="sendonly")
    await room.connect(client)
    audio, camera, screen = client.pc.getTransceivers()
    assert (audio.currentDirection, camera.currentDirection, screen.currentDirection) == ("sendrecv", "inactive", "inactive")
    assert [c.mimeType for c in audio._codecs] == ["audio/opus"]
    assert not [t for t in threading.enumerate() if t.name == "video-decoder"]


async def test_client_that_hangs_up_is_lost_once_and_nothing_stays(room, kit):
    client, call = await room.connect()
    await client.close()
    await kit.eventually(lambda: call.lost)
    await kit.eventually(lambda: room.signalling.peers == 0)
    await call.transport.close()
    assert call.lost == ["the client hung up"]
    await call.transport.send(Transcript(text="too late", is_final=True))


async def test_silent_client_is_lost(impatient_room, kit):
    microphone = kit.microphone()
    client, call = await impatient_room.connect(kit.client(microphone))
    assert call.lost == []
    microphone.paused.clear()
    await kit.eventually(lambda: call.lost)
    assert call.lost == ["silent"]
    await kit.eventually(client.closed.is_set)
    await kit.eventually(lambda: impatient_room.signalling.peers == 0)


async def test_pings_keep_a_client_without_audio(impatient_room, kit):
    microphone = kit.microphone()
    client, call = await impatient_room.connect(kit.client(microphone))
    microphone.paused.clear()
    for i in range(15):  # three times the patience
        await client.send(f"ping: {i}")
        await asyncio.sleep(0.1)
    assert call.lost == []


async def test_client_that_never_connects_is_given_up(room, kit, monkeypatch):
    monkeypatch.setattr("pipeline.transports.webrtc.CONNECT_TIMEOUT_S", 0.3)
    client = kit.client()
    room.clients.append(client)
    _, call = await room.signalling.offer(await client.offer(), "offer", room.build)
    await kit.eventually(lambda: call.lost)
    assert call.lost == ["the client did not connect"]
    await kit.eventually(lambda: room.signalling.peers == 0)


async def test_close_sends_what_was_queued_first(room, kit):
    client, call = await room.connect()
    await client.send({"type": "ping"})
    await kit.eventually(lambda: client.of_type("pong"))
    await call.transport.send(AiText(text="goodbye", is_complete=True))
    await call.transport.close()
    await call.transport.close()
    await kit.eventually(lambda: client.of_type("ai_text"))
    await kit.eventually(client.closed.is_set)
    assert call.lost == []


async def test_call_may_be_closed_from_inside_its_own_handlers(room, kit):
    client, call = await room.connect()
    ended = asyncio.Event()

    async def end():
        await call.transport.close()
        ended.set()

    async def on_command(message):
        await asyncio.create_task(end())

    call.transport.on_command = on_command
    await client.send({"type": "end_conversation"})
    await kit.eventually(ended.is_set)


async def test_failing_handler_is_answered_and_the_next_one_runs(room, kit):
    client, call = await room.connect()
    seen = []

    async def on_command(message):
        seen.append(message.type)
        if message.type == "interrupt":
            raise RuntimeError("broken")

    call.transport.on_command = on_command
    await client.send({"type": "interrupt"})
    await client.send({"type": "end_conversation"})
    await kit.eventually(lambda: seen == ["interrupt", "end_conversation"])
    (error,) = await kit.eventually(lambda: client.of_type("error"))
    assert error["message"] == "interrupt: internal error"


async def test_restarted_peer_connection_goes_on_with_the_same_call(room, kit):
    client, call = await room.connect()
    await kit.eventually(lambda: call.probe.audio())
    again = kit.client()
    room.clients.append(again)
    answer, same = await room.signalling.offer(await again.offer(), "offer", room.build, pc_id=client.pc_id, restart_pc=True)
    assert same is call
    assert answer["pc_id"] == client.pc_id
    before = call.transport.playout.position
    last = call.probe.audio()[-1].metadata["capture_end_s"]
    await again.accept(answer)
    await kit.eventually(lambda: len(again.packets) > 5)
    await kit.eventually(lambda: call.probe.audio()[-1].metadata["capture_end_s"] > last + 0.1)
    ends = [f.metadata["capture_end_s"] for f in call.probe.audio()]
    assert ends == sorted(ends)
    position = call.transport._peer.track.position_of(again.packets[0].timestamp)
    assert before <= position < before + 24_000 * 60
    await client.close()
    assert call.lost == []
    assert room.signalling.peers == 1


async def test_renegotiation_of_an_open_connection_is_answered(room, kit):
    client, call = await room.connect()
    answer, same = await room.signalling.offer(await client.offer(), "offer", room.build, pc_id=client.pc_id)
    await client.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    assert same is call
    seen = len(client.packets)
    await kit.eventually(lambda: len(client.packets) > seen + 10)
    assert call.lost == []


async def test_twenty_calls_leave_nothing(kit):
    async def one():
        room = kit.room()
        client, call = await room.connect()
        await client.send({"type": "ping"})
        await call.say(kit.tone(500, 0.2), "a")
        await kit.eventually(lambda: client.of_type("pong"))
        await room.close()
        assert room.signalling.peers == 0

    def count():
        gc.collect()
        # The loop's executor, in which the client encodes, keeps its threads.
        threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio_")]
        return len(asyncio.all_tasks()), len(threads), psutil.Process().num_fds()

    await one()
    await kit.eventually(lambda: len(asyncio.all_tasks()) == 1)
    before = count()
    for _ in range(20):
        await one()
    await kit.eventually(lambda: all(now <= then for now, then in zip(count(), before, strict=True)))
