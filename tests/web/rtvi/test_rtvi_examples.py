"""The examples in JavaScript on the doors' pages hold a call in a browser, as they are printed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import Route, async_playwright

from tests.e2e.conftest import CHROMIUM, FLAGS, microphone  # noqa: F401  (fixture)
from tests.running_server import ROOT, RunningServer
from tests.web.rtvi.test_rtvi_browser import ORIGIN, allowed  # noqa: F401  (fixture)

# What the example writes to the console is kept, and its client is left where it can be hung up.
BEFORE = "window.told = []; const console = { log: (...a) => window.told.push(a.map((x) => JSON.stringify(x)).join(' ')) };"
AFTER = "window.client = client;"


def printed(page: str, server: RunningServer) -> str:
    """The example of a page, for this server."""
    text = (ROOT / "docs" / "doors" / page).read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"^```js\n(.*?)^```$", text, re.M | re.S) if "new PipecatClient" in block)
    here = code.replace("http://localhost:7860", server.url).replace('"/api/offer"', f'"{server.url}/api/offer"')
    assert here != code
    return here


def bundled(code: str, sdk: Path, folder: Path) -> str:
    """``code`` with the SDK in it."""
    shutil.copy(sdk / "vite.config.mjs", folder)
    (folder / "node_modules").symlink_to(sdk / "node_modules")
    (folder / "page.mjs").write_text("\n".join([BEFORE, code, AFTER]), encoding="utf-8")
    vite = ROOT / "web" / "client" / "node_modules" / "vite" / "bin" / "vite.js"
    command = [ROOT / "scripts" / "with-node", "node", vite, "build", "--outDir", folder / "out"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return (folder / "out" / "page.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["rtvi.md", "webrtc.md"])
async def test_the_example_holds_a_call(
    page: str,
    allowed: RunningServer,  # noqa: F811
    sdk: Path,
    tmp_path: Path,
    microphone: Callable[..., Path],  # noqa: F811
) -> None:
    script = bundled(printed(page, allowed), sdk, tmp_path)

    async def serve(route: Route) -> None:
        is_script = route.request.url.endswith(".js")
        body = script if is_script else '<script type="module" src="/page.js"></script>'
        await route.fulfill(body=body, content_type="text/javascript" if is_script else "text/html")

    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile",
            executable_path=CHROMIUM,
            headless=True,
            args=[
                *FLAGS,
                "--disable-features=LocalNetworkAccessChecks",
                f"--use-file-for-fake-audio-capture={microphone((1.0, 'hello'))}%noloop",
            ],
        )
        try:
            opened = await context.new_page()
            await opened.route(f"{ORIGIN}/**", serve)
            await opened.goto(ORIGIN)
            await opened.wait_for_function("() => window.told?.some((line) => line.includes('turn_complete'))", timeout=60_000)
            told = await opened.evaluate("window.told")
            assert any("connected" in line for line in told)
            assert any("ai_text" in line for line in told)
            await opened.evaluate("window.client.disconnect()")
        finally:
            await context.close()
