"""The options of a call in the page's drawer: what the engines use can be set, is heard, and is remembered."""

from __future__ import annotations

import time


async def set_rate(browser, value: float) -> None:
    """Move the slider as a person does, and let go of it."""
    await browser.at("option-speech_rate").evaluate(
        "(e, v) => { e.valueAsNumber = v; e.dispatchEvent(new Event('input')); e.dispatchEvent(new Event('change')); }", value
    )


async def test_the_drawer_offers_what_the_engines_use_and_says_why_not_the_rest(server, browse):
    browser = await browse(server.url)
    await browser.page.keyboard.press("s")
    await browser.page.wait_for_selector("[data-testid=options]:visible")
    assert await browser.at("option-speech_rate").is_enabled()
    assert await browser.at("option-temperature").is_disabled()
    assert await browser.at("option-max_tokens").is_disabled()
    text = await browser.at("options").inner_text()
    assert text.count("The scripted tutor does not use it.") == 2
    assert "1 ×" in text
    await browser.at("option-speech_rate").focus()
    for _ in range(3):
        await browser.page.keyboard.press("ArrowLeft")
    await browser.see("options", "0.85 ×")
    assert await browser.at("option-speech_rate").get_attribute("aria-valuetext") == "0.85 ×"
    await browser.page.keyboard.press("Home")
    await browser.see("options", "0.7 ×")
    assert browser.errors == []


async def test_a_rate_set_in_the_drawer_is_that_of_the_call_and_of_the_next_visit(server, browse):
    browser = await browse(server.url)
    await browser.page.keyboard.press("s")
    await set_rate(browser, 1.4)
    await browser.page.keyboard.press("Escape")
    await browser.call()
    await browser.see("caption-tutor", "name")
    session = server.get("/api/sessions")["items"][0]["id"]
    assert server.get(f"/api/sessions/{session}")["options"]["speech_rate"] == 1.4
    await browser.page.keyboard.press("s")
    await set_rate(browser, 0.8)
    await browser.page.keyboard.press("Escape")
    deadline = time.monotonic() + 30
    while server.get(f"/api/sessions/{session}")["options"]["speech_rate"] != 0.8:
        assert time.monotonic() < deadline, "the change reaches the call"
        await browser.page.wait_for_timeout(100)
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)
    await browser.page.reload()
    await browser.page.wait_for_selector("[data-testid=call-button]", timeout=30_000)
    await browser.page.keyboard.press("s")
    await browser.see("options", "0.8 ×")
    assert browser.errors == []
