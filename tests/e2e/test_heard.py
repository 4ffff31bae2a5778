"""What the record says was heard of the tutor, beside what the page's loudspeaker really played."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.e2e.slow_link import slow_link
from tests.e2e.tap import TAP
from web.talk.client import Server
from web.talk.ws_client import WSClient

TYPED = "My name is Anna."
CLICK_INTERRUPT = "() => document.querySelector('[data-testid=interrupt-button]').click()"
TYPE = f"""() => {{
  const field = document.querySelector('[data-testid=text-input]');
  field.value = '{TYPED}';
  field.dispatchEvent(new Event('input', {{ bubbles: true }}));
  document.querySelector('[data-testid=send-text]').click();
}}"""
# Lets a test say something to the page in the server's name.
KEEP_SOCKET = """
const Plain = window.WebSocket;
window.WebSocket = class extends Plain { constructor(...a) { super(...a); window.__socket = this; } };
window.__tell = (message) => window.__socket.onmessage(new MessageEvent('message', { data: JSON.stringify(message) }));
"""
DEPTH_MS = 800
DEEP_BUFFER = f"""
setInterval(() => {{
  const receivers = window.__peers.flatMap(peer => peer.getReceivers());
  for (const receiver of receivers) if (receiver.track.kind === 'audio') receiver.jitterBufferTarget = {DEPTH_MS};
}}, 50);
window.__depth = async () => {{
  const read = async () => {{
    let found = [0, 0];
    (await window.__peers.at(-1).getStats()).forEach(s => {{
      if (s.type === 'inbound-rtp') found = [s.jitterBufferDelay, s.jitterBufferEmittedCount];
    }});
    return found;
  }};
  const [delay, count] = await read();
  await new Promise(resolve => setTimeout(resolve, 500));
  const [later, more] = await read();
  return 1000 * (later - delay) / Math.max(1, more - count);
}};
"""


@pytest.fixture(scope="module")
def script(server) -> dict[str, list[dict[str, Any]]]:
    """The greeting and the answer to ``TYPED`` as they are said to a learner who hears them out: words with times."""

    async def call() -> str:
        client = WSClient(Server(server.url))
        await client.connect()
        turns, session_id = 0, ""
        try:
            while turns < 2:
                item = await client.receive(30)
                assert item is not None
                message = item[0]
                session_id = message.get("session_id", session_id)
                if message["type"] == "turn_complete":
                    turns += 1
                    await client.send({"type": "text", "text": TYPED} if turns == 1 else {"type": "end_conversation"})
        finally:
            await client.close()
        return session_id

    session_id = asyncio.run(call())
    turns = server.get(f"/api/sessions/{session_id}")["turns"]
    return {"greeting": turns[0]["words"], "answer": turns[2]["words"]}


async def offset_ms(browser) -> float:
    """What this process's monotonic clock shows more than the page's, in ms."""
    rounds = []
    for _ in range(15):
        before = time.monotonic()
        there = await browser.page.evaluate("performance.now()")
        after = time.monotonic()
        rounds.append((after - before, (before + after) / 2 * 1000 - there))
    return min(rounds)[1]


async def interrupt(browser, act: str, after_s: float, silent_until: float = 0.0) -> dict[str, float]:
    """Act when the tutor has been heard for ``after_s``; returns the page's own times of its onset and of the act, in ms."""
    call = f"([silentUntil, ms]) => window.__interrupt(silentUntil, ms, {act})"
    times: dict[str, float] = await browser.page.evaluate(call, [silent_until, after_s * 1000])
    return times


def played(words: list[dict[str, Any]], times: dict[str, float]) -> int:
    """How many of ``words`` had been played to their middle when the page acted."""
    at_s = words[0]["start_s"] + (times["at"] - times["onset"]) / 1000
    return sum((word["start_s"] + word["end_s"]) / 2 <= at_s for word in words)


def last_session(server) -> str:
    return str(server.get("/api/sessions")["items"][0]["id"])


def assert_cut(server, session_id: str, turn: int, words: list[dict[str, Any]], times: dict[str, float]) -> None:
    def cut() -> dict[str, Any] | None:
        turns = server.get(f"/api/sessions/{session_id}")["turns"]
        return turns[turn] if len(turns) > turn else None

    kept = server.wait_for(cut, "the interrupted turn in the record")
    assert kept["interrupted"]
    said = kept["text"].split()
    assert said == [w["text"] for w in words[: len(said)]], "the tutor says the same as in the call that was heard out"
    assert abs(len(said) - played(words, times)) <= 1, (said, times)
    assert [w["text"] for w in kept["words"]] == said


@pytest.mark.parametrize(
    ("door", "act", "after_s"), [("webrtc", TYPE, 2.9), ("websocket", CLICK_INTERRUPT, 2.9)], ids=["webrtc", "websocket"]
)
async def test_an_interrupted_turn_is_cut_to_the_words_that_were_played(server, browse, script, door, act, after_s):
    browser = await browse(f"{server.url}/?transport={door}", before=TAP)
    offset = await offset_ms(browser)
    await browser.call()
    assert await browser.transport() == door
    times = await interrupt(browser, act, after_s)
    session_id = last_session(server)
    await asyncio.to_thread(assert_cut, server, session_id, 0, script["greeting"], times)

    # The same onset in the call's metrics. Its position is that of the 20 ms in which the voice begins.
    row = server.get(f"/api/sessions/{session_id}")["metrics"][0]
    assert row["heard"] == pytest.approx(times["onset"] + offset, abs=100)
    assert row["heard"] > row["sent"]
    assert browser.errors == []


async def test_the_interrupted_voice_stops_in_the_page_before_the_server_knows(server, browse, script):
    async with slow_link(server.port, 0.3) as port:
        browser = await browse(f"http://127.0.0.1:{port}/?transport=websocket", before=TAP)
        offset = await offset_ms(browser)
        await browser.call()
        assert await browser.transport() == "websocket"
        times = await interrupt(browser, CLICK_INTERRUPT, 2.9)
        await asyncio.sleep(1.0)
        last = await browser.page.evaluate("window.__lastVoiced()")
        # The sound that the browser had already handed to its loudspeaker is still heard.
        assert last - times["at"] < 200
        session_id = last_session(server)
        await asyncio.to_thread(assert_cut, server, session_id, 0, script["greeting"], times)
        # What the page reports is dated by when it arrives, like the learner's voice.
        row = server.get(f"/api/sessions/{session_id}")["metrics"][0]
        assert row["heard"] - 300 == pytest.approx(times["onset"] + offset, abs=120)


async def test_a_deep_jitter_buffer_is_reckoned_with(server, browse, script):
    browser = await browse(server.url, before=TAP + DEEP_BUFFER)
    await browser.call()
    assert await browser.transport() == "webrtc"
    await interrupt(browser, CLICK_INTERRUPT, 0.3)
    for _ in range(80):  # it grows by some 40 ms a second
        if await browser.page.evaluate("window.__depth()") > 0.9 * DEPTH_MS:
            break
    else:
        raise AssertionError("the browser's jitter buffer did not become deep")
    silent_until = await browser.page.evaluate("performance.now()")
    await browser.page.evaluate(f"({TYPE})()")
    times = await interrupt(browser, CLICK_INTERRUPT, 1.6, silent_until)
    record = server.get(f"/api/sessions/{last_session(server)}")["turns"]
    turn = next(i for i, t in enumerate(record) if t["role"] == "learner") + 1
    await asyncio.to_thread(assert_cut, server, last_session(server), turn, script["answer"], times)


async def test_a_held_page_is_silent_and_goes_on_where_it_was(server, browse, script):
    browser = await browse(f"{server.url}/?transport=websocket", before=KEEP_SOCKET + TAP)
    await browser.call()
    held = await interrupt(browser, "() => window.__tell({ type: 'hold' })", 1.7)
    await asyncio.sleep(1.5)
    at_s = script["greeting"][0]["start_s"] + (held["at"] - held["onset"]) / 1000
    assert any(w["start_s"] < at_s < w["end_s"] for w in script["greeting"]), "it was held in a word"
    assert await browser.page.evaluate("window.__lastVoiced()") - held["at"] < 200
    went_on = await browser.page.evaluate("() => { window.__tell({ type: 'go_on' }); return performance.now(); }")
    await asyncio.sleep(0.5)
    onset = await browser.page.evaluate("(at) => window.__onset(at)", went_on)
    assert onset - went_on < 200, "it goes on in the middle of the word"
    await browser.at("interrupt-button").click()
    # The page has reported where it stood: the pause is no part of what was heard.
    words = played(script["greeting"], {"onset": held["onset"], "at": held["at"] + 500})
    session_id = last_session(server)
    turn = await asyncio.to_thread(server.wait_for, lambda: server.get(f"/api/sessions/{session_id}")["turns"], "the turn")
    assert abs(len(turn[0]["text"].split()) - words) <= 1, turn[0]["text"]
    assert browser.errors == []


async def test_the_page_shows_the_time_to_answer_as_it_was_heard(server, browse, microphone):
    browser = await browse(server.url, microphone((12.0, "my name is anna")))
    await browser.call()
    await browser.see("latency-ribbon", "as you heard it")
    assert browser.errors == []
