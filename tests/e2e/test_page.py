"""The page in a real browser: a spoken call, an interruption, a fallback, a lost connection, a report."""

from __future__ import annotations

import asyncio
import signal

import pytest

# Loopback is reached whatever the browser's policy on UDP; without any relay, "relay only" leaves it no way at all.
NO_UDP = """
const Free = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Free { constructor(c) { super({ ...c, iceTransportPolicy: "relay" }); } };
"""


async def quiet_from(browser, limit_s: float = 15.0) -> None:
    """Return once the tutor's audio has had no energy for half a second."""
    for _ in range(int(limit_s * 2)):
        before = await browser.energy()
        await asyncio.sleep(0.5)
        if await browser.energy() - before < 1e-5:
            return
    raise AssertionError("the tutor did not fall silent")


async def test_a_spoken_call_with_captions_audio_and_report(server, browse, microphone):
    browser = await browse(server.url, microphone((12.0, "my name is anna")))
    await browser.call()
    assert await browser.transport() == "webrtc"
    await browser.see("caption-tutor", "name")
    await browser.page.wait_for_selector("[data-testid=caption-tutor] .word[data-heard]")
    await asyncio.sleep(1.0)
    assert await browser.energy() > 1e-3, "the greeting is heard"
    await browser.see("caption-learner", "name")
    await browser.wait("document.querySelectorAll('[data-testid=caption-tutor]').length >= 2")
    await browser.see("latency-ribbon", "ms")
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)
    await browser.see("report", "not enough speech")
    assert browser.errors == []


async def test_speaking_over_the_tutor_stops_it(server, browse, microphone):
    browser = await browse(server.url, microphone((3.0, "excuse me please wait a moment"), length_s=60))
    await browser.call()
    await browser.page.wait_for_selector(
        "[data-testid=caption-tutor][data-cut], [data-testid=caption-tutor] [data-cut]", timeout=30_000
    )
    await quiet_from(browser)
    assert browser.errors == []


async def test_the_interrupt_button_silences_the_tutor(server, browse):
    browser = await browse(server.url)
    await browser.call()
    for _ in range(60):
        if await browser.energy() > 1e-3:
            break
        await asyncio.sleep(0.25)
    await browser.at("interrupt-button").click()
    await quiet_from(browser, limit_s=3.0)  # its greeting would take twice as long
    assert browser.errors == []


async def test_typing_works_and_suggestions_are_offered(server, browse):
    browser = await browse(server.url)
    await browser.call()
    await browser.at("text-input").fill("My name is Anna.")
    await browser.at("send-text").click()
    await browser.see("caption-learner", "my name is anna.")
    await browser.see("caption-tutor", "anna")
    assert browser.errors == []


async def test_where_udp_is_blocked_the_page_falls_back_to_the_websocket(server, browse, microphone):
    browser = await browse(server.url, microphone((20.0, "my name is anna")), before=NO_UDP)
    await browser.call()
    assert await browser.transport() == "websocket"
    await browser.see("caption-tutor", "name")
    await browser.see("caption-learner", "name", 90)
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)


async def test_a_lost_webrtc_connection_is_taken_up_again(own_server, browse):
    server = own_server(PARLEY_SESSION__DETACH_AFTER_S="2")
    browser = await browse(server.url)
    await browser.call()
    await browser.at("text-input").fill("My name is Anna.")
    await browser.at("send-text").click()
    await browser.see("caption-tutor", "anna")
    # The network goes away under the connection, and later comes back: the server stands still, then goes on.
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        await browser.wait("window.parley.state() === 'reconnecting'")
    finally:
        server.process.send_signal(signal.SIGCONT)
    await browser.wait("window.parley.state() === 'in-call'")
    await browser.see("caption-learner", "my name is anna.")
    await browser.at("text-input").fill("I am from Italy.")
    await browser.at("send-text").click()
    await browser.see("caption-learner", "italy")
    assert len(server.get("/api/sessions")["items"]) == 1, "it is the same session"


async def test_a_full_server_says_so_and_is_not_asked_again(own_server, browse):
    server = own_server(PARLEY_LIMITS__MAX_CALLS="1")
    first = await browse(server.url)
    await first.call()
    second = await browse(server.url)
    offers: list[str] = []
    second.page.on("request", lambda r: offers.append(r.url) if r.url.endswith("/api/offer") else None)
    await second.at("call-button").click()
    await second.see("error-banner", "busy")
    await asyncio.sleep(3)
    assert len(offers) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
async def test_no_screen_scrolls_sideways_and_both_themes_differ(server, browse, scheme, width, height):
    browser = await browse(server.url, None, viewport={"width": width, "height": height}, color_scheme=scheme)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    background = (
        "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    )
    assert await browser.page.evaluate(overflow) <= 0
    assert (await browser.page.evaluate(background) < 200) == (scheme == "dark")
    await browser.call()
    await browser.see("caption-tutor", "name")
    assert await browser.page.evaluate(overflow) <= 0
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)
    assert await browser.page.evaluate(overflow) <= 0
    before = await browser.page.evaluate(background)
    await browser.at("theme-toggle").first.click()
    assert await browser.page.evaluate(background) != before
    assert browser.errors == []


async def test_small_and_enlarged_screens_keep_the_conversation_in_sight(server, browse):
    """A small telephone, one on its side, and a page at 200 %: nothing beyond the edge, and room for what is said."""
    browser = await browse(server.url, None, viewport={"width": 320, "height": 568})
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await browser.page.evaluate(overflow) <= 0
    await browser.call()
    # Who works without a mouse or a screen is in the call, and not nowhere.
    assert await browser.page.evaluate("document.activeElement.tagName + document.activeElement.innerText") == (
        "H1Call: Meeting someone new"
    )
    await browser.see("caption-tutor", "name")
    for width, height in ((320, 568), (844, 390), (640, 400)):
        await browser.page.set_viewport_size({"width": width, "height": height})
        assert await browser.page.evaluate(overflow) <= 0, (width, height)
        assert await browser.page.evaluate("document.querySelector('.captions').clientHeight") > 110, (width, height)
        for button in ("settings-button", "hangup-button"):
            box = await browser.at(button).bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width, button
            assert box["y"] + box["height"] <= height, button
    assert browser.errors == []
