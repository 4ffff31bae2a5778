"""Earlier calls on the page: recorded with the learner's knowledge, found again, heard again, deleted for good."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

SENTENCE = "My name is Anna."


def files_with(data_dir: Path, text: str) -> list[Path]:
    return [path for path in data_dir.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def hang_up(browser) -> None:
    await browser.at("hangup-button").click()
    await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)


async def test_a_call_is_recorded_found_played_and_deleted(own_server, browse, microphone):
    server = own_server(PARLEY_RECORDING__ENABLED="true")
    browser = await browse(server.url, microphone((14.0, "i am from italy")))
    await browser.see("record-notice", "this call is recorded")
    await browser.call()
    await browser.see("recorded", "this call is recorded")
    await browser.see("caption-tutor", "name")
    await asyncio.sleep(2)  # so that the line has a place that is not the recording's beginning
    await browser.at("text-input").fill(SENTENCE)
    await browser.at("send-text").click()
    await browser.see("caption-tutor", "anna")
    await browser.wait("document.querySelectorAll('[data-testid=caption-learner]').length >= 2")
    await asyncio.sleep(1)
    await hang_up(browser)
    assert files_with(server.data_dir, SENTENCE)
    session_id = server.get("/api/sessions")["items"][0]["id"]
    folder = server.data_dir / "recordings" / session_id
    server.wait_for(lambda: (folder / "recording.flac").is_file(), "the finished recording")

    await browser.at("history-button").click()
    await browser.at("history-search").fill("zebra")
    await browser.see("history-found", "no call in which")
    await browser.at("history-search").fill("anna")
    await browser.see("history-found", "1 call in which")
    await browser.at("history-item").click()
    await browser.see("history-line", "my name is anna.")
    await browser.wait("document.querySelector('[data-testid=history-audio]').readyState >= 1")
    # A click on a line plays from its place.
    lines = browser.at("history-line")
    line = lines.filter(has_text=SENTENCE)
    minutes, seconds = (await line.locator(".at").inner_text()).replace("Play from", "").strip().split(":")
    place = int(minutes) * 60 + int(seconds)
    assert place > 0
    await line.click()
    await browser.wait(
        "(at) => document.querySelector('[data-testid=history-audio]').currentTime > at + 0.3", float(place), timeout_s=20
    )
    assert await browser.page.evaluate("!document.querySelector('[data-testid=history-audio]').paused")
    assert await browser.page.evaluate("document.querySelector('[data-testid=history-audio]').currentTime") < place + 20
    await browser.wait("document.querySelector('.transcript li[data-playing]') !== null")

    # Deleting asks first, and Escape keeps it.
    await browser.at("history-delete").click()
    await browser.page.keyboard.press("Escape")
    await browser.see("history-line", "anna")
    await browser.at("history-delete").click()
    await browser.at("confirm-delete").click()
    await browser.see("history-found", "no call in which")
    await browser.at("history-search").fill("")
    await browser.see("history-found", "no calls yet")
    assert not folder.exists()
    assert files_with(server.data_dir, SENTENCE) == []
    assert files_with(server.data_dir, session_id) == []
    assert browser.errors == []


async def test_a_learner_who_declines_is_not_recorded(own_server, browse):
    server = own_server(PARLEY_RECORDING__ENABLED="true")
    browser = await browse(server.url)
    await browser.at("record-switch").uncheck()
    await browser.see("record-notice", "not recorded")
    await browser.call()
    await browser.see("caption-tutor", "name")
    assert await browser.at("recorded").inner_text() == ""
    await hang_up(browser)
    assert not (server.data_dir / "recordings").exists()
    assert browser.errors == []


@pytest.mark.parametrize("transport", ["webrtc", "websocket"])
async def test_a_file_is_sent_as_a_turn(server, browse, flite_wav, transport):
    browser = await browse(f"{server.url}/?transport={transport}")
    await browser.see("call-button", "call your tutor")
    await browser.call()
    assert await browser.transport() == transport
    await browser.see("caption-tutor", "name")
    await browser.at("upload-file").set_input_files(flite_wav("my name is anna"))
    await browser.see("caption-learner", "name")
    await browser.wait("document.querySelectorAll('[data-testid=caption-tutor]').length >= 2")
    await browser.at("upload-file").set_input_files(
        {"name": "letter.wav", "mimeType": "audio/wav", "buffer": b"this is no sound"}
    )
    await browser.see("error-banner", "not an audio file of a known kind")
    await hang_up(browser)


async def test_without_recording_nothing_is_said_of_it(server, browse):
    browser = await browse(server.url)
    assert not await browser.at("record-switch").is_visible()
    await browser.page.goto(f"{server.url}/#history/unknown")
    await browser.see("history-session", "not here")
    await browser.page.go_back()
    await browser.page.wait_for_selector("[data-testid=call-button]:visible")
    await browser.at("history-button").click()
    await browser.page.wait_for_selector("[data-testid=history-search]:visible")
    await browser.page.keyboard.press("Tab")
    assert await browser.page.evaluate("document.activeElement.id") == "history-search"
