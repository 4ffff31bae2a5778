"""``@openai/agents`` over WebRTC in a real browser: its released bundle, an ephemeral key, a microphone and a loudspeaker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Playwright, Route

from tests.e2e.conftest import CHROMIUM, ENERGY, FLAGS, KEEP_PEERS
from tests.running_server import RunningServer
from tests.web.realtime.test_agents_sdk import JS, install, texts

PAGE = "<!doctype html><script type=module>import * as sdk from './openai-realtime-agents.mjs'; window.sdk = sdk;</script>"
CONNECT = """async ([apiKey, url]) => {
  const agent = new sdk.RealtimeAgent({ name: 'Tutor', instructions: '' });
  window.events = [];
  window.session = new sdk.RealtimeSession(agent, { transport: 'webrtc' });
  session.on('error', (e) => events.push('error ' + JSON.stringify(e.error)));
  session.transport.on('*', (e) => events.push(e.type));
  await session.connect({ apiKey, url });
}"""


@pytest.fixture(scope="session")
def bundle() -> Path:
    """The SDK as browsers load it."""
    return install(JS) / "node_modules" / "@openai" / "agents-realtime" / "dist" / "bundle"


async def test_the_sdk_holds_a_call_over_webrtc(
    server: RunningServer, playwright: Playwright, tmp_path: Path, microphone: Callable[..., Path], bundle: Path
) -> None:
    wav = microphone((9.0, "i am from spain"), length_s=40.0)
    context = await playwright.chromium.launch_persistent_context(
        tmp_path / "profile",
        executable_path=CHROMIUM,
        headless=True,
        args=[*FLAGS, f"--use-file-for-fake-audio-capture={wav}%noloop"],
    )
    try:
        page = context.pages[0]
        await page.add_init_script(KEEP_PEERS)

        async def serve(route: Route) -> None:
            name = route.request.url.rpartition("/")[2]
            if name == "index.html":
                await route.fulfill(body=PAGE, content_type="text/html")
            else:
                await route.fulfill(path=bundle / name, content_type="text/javascript")

        await page.route("**/sdk/*", serve)
        await page.goto(f"{server.url}/sdk/index.html")

        async def wait(expression: str, timeout_s: float = 45) -> Any:
            deadline = time.monotonic() + timeout_s
            while not (value := await page.evaluate(expression)):
                if time.monotonic() > deadline:
                    state = await page.evaluate("JSON.stringify([window.events, window.session && session.history])")
                    raise AssertionError(f"not within {timeout_s} s: {expression}\n{state[-3000:]}")
                await asyncio.sleep(0.1)
            return value

        await wait("Boolean(window.sdk)")
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            made = (await http.post("/v1/realtime/client_secrets", json={"session": {"type": "realtime"}})).json()
        await page.evaluate(CONNECT, [made["value"], f"{server.url}/v1/realtime/calls"])
        await page.evaluate("session.sendMessage('my name is anna')")
        await wait("events.includes('output_audio_buffer.stopped') && events.filter(e => e === 'response.done').length === 1")
        assert await page.evaluate(ENERGY) > 0
        await wait("events.filter(e => e === 'response.done').length === 2")
        await asyncio.sleep(0.5)
        said = texts(json.loads(await page.evaluate("JSON.stringify(session.history)")))
        assert [role for role, _ in said] == ["user", "assistant", "user", "assistant"]
        assert "Anna" in said[1][1]
        assert "spain" in said[2][1].lower()
        events = await page.evaluate("events")
        assert "input_audio_buffer.speech_started" in events
        assert [e for e in events if e.startswith("error")] == []
        await page.evaluate("session.close()")
    finally:
        await context.close()
    ended = lambda: server.get("/status")["active_calls"] == 0  # noqa: E731
    await asyncio.to_thread(server.wait_for, ended, "the call has ended")
