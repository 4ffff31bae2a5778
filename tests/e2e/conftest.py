"""A real browser (Debian's chromium) with a microphone that plays a WAV, against a real server."""

from __future__ import annotations

import asyncio
import time
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import BrowserContext, Page, Playwright, async_playwright

from tests.running_server import module_server, own_server, server, server_env  # noqa: F401  (fixtures)
from web.talk.wavs import read_wav

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
]
RATE = 48_000
# Keeps every peer connection where a test can ask it for statistics.
KEEP_PEERS = """
window.__peers = [];
const Stock = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Stock { constructor(...a) { super(...a); window.__peers.push(this); } };
"""
ENERGY = """async () => {
  let energy = 0;
  for (const peer of window.__peers) {
    if (peer.connectionState !== 'connected') continue;
    (await peer.getStats()).forEach(s => { if (s.type === 'inbound-rtp' && s.kind === 'audio') energy += s.totalAudioEnergy; });
  }
  return energy;
}"""


@pytest.fixture
def microphone(tmp_path: Path, flite_wav: Callable[..., Path]) -> Callable[..., Path]:
    """``microphone((2.0, "hello"), (8.0, "again"))``: a WAV with each text at its second, in room tone."""

    def make(*said: tuple[float, str], length_s: float = 90.0) -> Path:
        audio = np.random.default_rng(5).normal(0, 8, int(length_s * RATE))
        for at_s, text in said:
            clip = read_wav(flite_wav(text), RATE)
            start = int(at_s * RATE)
            audio[start : start + len(clip)] += clip
        path = tmp_path / "microphone.wav"
        with wave.open(str(path), "wb") as f:
            f.setnchannels(1)
            f.setsampwidth(2)
            f.setframerate(RATE)
            f.writeframes(audio.clip(-32768, 32767).astype("<i2").tobytes())
        return path

    return make


class Browser:
    """One page in a fresh profile, with what its console said."""

    def __init__(self, context: BrowserContext, page: Page) -> None:
        self.context = context
        self.page = page
        self.errors: list[str] = []
        page.on("console", lambda m: self.errors.append(f"{m.text} {m.location}") if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def at(self, test_id: str) -> Any:
        return self.page.get_by_test_id(test_id)

    async def wait(self, expression: str, argument: Any = None, timeout_s: float = 60) -> None:
        """Until the JavaScript ``expression`` is true. The page's CSP forbids what Playwright's own wait does."""
        deadline = time.monotonic() + timeout_s
        while not await self.page.evaluate(expression, argument):
            if time.monotonic() > deadline:
                text = await self.page.evaluate("document.body.innerText")
                raise AssertionError(
                    f"not within {timeout_s} s: {expression} {argument}\nconsole: {self.errors}\npage: {text[:1500]}"
                )
            await asyncio.sleep(0.1)

    async def call(self) -> None:
        await self.at("call-button").click()
        await self.wait("window.parley.state() === 'in-call'")

    async def transport(self) -> str:
        return str(await self.page.evaluate("window.parley.transport()"))

    async def energy(self) -> float:
        """Energy of the tutor's audio as the browser played it so far (WebRTC statistics)."""
        return float(await self.page.evaluate(ENERGY))

    async def see(self, test_id: str, text: str, timeout_s: float = 60) -> None:
        """Until a visible part of the page with ``test_id`` shows ``text``, in any case."""
        await self.wait(
            "([id, text]) => [...document.querySelectorAll(`[data-testid=${id}]`)]"
            ".some(e => e.innerText.toLowerCase().includes(text))",
            [test_id, text.lower()],
            timeout_s,
        )


@pytest.fixture
async def playwright() -> AsyncIterator[Playwright]:
    async with async_playwright() as p:
        yield p


@pytest.fixture
async def browse(playwright: Playwright, tmp_path: Path, microphone: Callable[..., Path]) -> AsyncIterator[Any]:
    """``await browse(url, wav, *flags, before=script, **context_options)`` opens the page in a browser of its own."""
    opened: list[Browser] = []

    async def open_page(url: str, wav: Path | None = None, *flags: str, before: str = "", **options: Any) -> Browser:
        wav = wav or microphone()
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / f"profile-{len(opened)}",
            executable_path=CHROMIUM,
            headless=True,
            args=[*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop", *flags],
            **{"viewport": {"width": 1440, "height": 900}, **options},
        )
        page = context.pages[0] if context.pages else await context.new_page()
        await page.add_init_script(KEEP_PEERS + before)
        browser = Browser(context, page)
        opened.append(browser)
        await page.goto(url)
        await page.wait_for_selector("[data-testid=call-button]", timeout=30_000)
        return browser

    yield open_page
    for browser in opened:
        await browser.context.close()
