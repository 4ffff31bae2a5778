"""A server whose engines are unloaded says so on the page, and is called again once they are loaded."""

from __future__ import annotations

import httpx


async def test_the_page_says_that_the_tutor_is_away(own_server, browse):
    server = own_server()
    for transport in ("webrtc", "websocket"):
        browser = await browse(f"{server.url}/?transport={transport}")
        async with httpx.AsyncClient(base_url=server.url, timeout=90) as http:
            assert (await http.post("/models/unload", json={"engine": "stt"})).status_code == 200
            await browser.at("call-button").click()
            await browser.wait("document.body.innerText.includes('The tutor is away')")
            assert "POST" not in await browser.page.inner_text("body")
            assert await browser.page.evaluate("window.parley.state()") == "start"
            assert (await http.post("/models/load")).json()["ready"] is True
        await browser.call()
        await browser.see("caption-tutor", "name")
        assert await browser.transport() == transport
        # Engines are not taken from a call.
        await browser.at("hangup-button").click()
        await browser.page.wait_for_selector("[data-testid=report]:visible", timeout=30_000)
