"""The released SDK in Chromium over both of its transports, on a page of another origin, with speech as its microphone."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, async_playwright

from tests.e2e.conftest import CHROMIUM, FLAGS, microphone  # noqa: F401  (fixture)
from tests.running_server import ROOT, RunningServer

ORIGIN = "http://localhost:7999"  # of a page that nobody serves: the browser is handed it


@pytest.fixture(scope="session")
def script(sdk: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's script with the SDK in it."""
    out = tmp_path_factory.mktemp("sdk")
    vite = ROOT / "web" / "client" / "node_modules" / "vite" / "bin" / "vite.js"
    command = [ROOT / "scripts" / "with-node", "node", vite, "build", "--outDir", out]
    done = subprocess.run(command, cwd=sdk, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return (out / "page.js").read_text(encoding="utf-8")


@pytest.fixture
async def allowed(own_server: Any) -> RunningServer:
    """A server that the page may use."""
    running: RunningServer = await asyncio.to_thread(own_server, PARLEY_SERVER__ALLOWED_ORIGINS=f'["{ORIGIN}"]')
    return running


@pytest.fixture
async def page(script: str, tmp_path: Path, microphone: Callable[..., Path]) -> AsyncIterator[Page]:  # noqa: F811
    """The page, whose microphone says a name after 14 s."""

    async def serve(route: Route) -> None:
        if route.request.url.endswith(".js"):
            await route.fulfill(body=script, content_type="text/javascript")
        else:
            await route.fulfill(body='<script type="module" src="/page.js"></script>', content_type="text/html")

    wav = microphone((14.0, "my name is anna"))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            headless=True,
            # A page that no server sent belongs to no network, and would not be let into this machine's.
            args=[*FLAGS, "--disable-features=LocalNetworkAccessChecks", f"--use-file-for-fake-audio-capture={wav}%noloop"],
        )
        opened = await context.new_page()
        await opened.route(f"{ORIGIN}/**", serve)
        await opened.goto(ORIGIN)
        await opened.wait_for_function("() => typeof window.begin === 'function'")
        yield opened
        await context.close()


async def told(page: Page, event: str, condition: str = "true", timeout_s: float = 60) -> Any:
    """The data of the first such event of the SDK's; ``condition`` is an expression of its ``data``."""
    found = f"window.told.find(([event, data]) => event === '{event}' && ({condition}))"
    deadline = time.monotonic() + timeout_s
    while not await page.evaluate(f"!!({found})"):
        if time.monotonic() > deadline:
            raise AssertionError(f"no {event}; {(await page.evaluate('window.told'))[-30:]}")
        await asyncio.sleep(0.1)
    return await page.evaluate(f"{found}[1]")


@pytest.mark.parametrize("transport", ["websocket", "webrtc"])
async def test_sdk_holds_a_call_in_a_browser(page, allowed, transport):
    body = {"level": "beginner", "lesson": "introductions"}
    begin = "([kind, endpoint, data]) => window.begin(kind, endpoint, data)"
    version = await page.evaluate(begin, [transport, f"{allowed.url}/start", {"transport": transport, "body": body}])
    assert version.count(".") == 2
    hello = await told(page, "serverMessage", "data.type === 'connected'")
    assert (hello["level"], hello["lesson"]) == ("beginner", "introductions")
    await told(page, "botStartedSpeaking")
    await told(page, "botStoppedSpeaking")
    final = await told(page, "userTranscript", "data.final && data.text.includes('name')")
    assert "anna" in final["text"].lower()
    await page.evaluate("window.client.sendText('I am from Spain.')")
    await told(page, "serverMessage", "data.type === 'transcript' && data.is_final && data.text === 'I am from Spain.'")
    await page.evaluate("window.client.disconnectBot()")
    report = await told(page, "serverMessage", "data.type === 'analysis'")
    assert "final_score" in report["data"]
    session = await asyncio.to_thread(allowed.get, f"/api/sessions/{hello['session_id']}")
    assert session["door"] == ("rtvi" if transport == "websocket" else "webrtc")
