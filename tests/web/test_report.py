"""The report over REST: as data, as a page, and its plots."""

from __future__ import annotations

from xml.etree import ElementTree

NASTY = "My <b>name</b> is <script>alert(1)</script> Anna & I live in a small town."


async def held(running) -> str:
    async with running.chat("?extras=1&level=beginner") as chat:
        await chat.until("ai_text", is_complete=True)
        for text in (NASTY, "I like football and music.", "My brother likes to play the guitar."):
            await chat.send({"type": "text", "text": text})
            await chat.until("transcript", is_final=True, text=text)
            await chat.until("ai_text", is_complete=True)
        await chat.send({"type": "end_conversation"})
        await chat.until("analysis")
        session_id = chat.seen[0]["session_id"]
        async with running.http() as http:
            # The report is there as soon as the client has been told of it.
            for path in ("report", "report?format=html", "report/plots"):
                assert (await http.get(f"/api/sessions/{session_id}/{path}")).status_code == 200
        await chat.closed()
    return session_id


async def test_the_report_as_data_page_and_plots(serve):
    running = await serve(word_lists=True)
    # A call that ends before is given a report without them.
    await running.until(lambda: running.state.sessions.analyst.warm, "the word lists are loaded")
    path = f"/api/sessions/{await held(running)}/report"
    async with running.http() as http:
        report = (await http.get(path)).json()
        assert report == (await http.get(path, params={"format": "json"})).json()
        assert report["levels"]["words"] > 10
        assert [turn["words"] for turn in report["turns"]] == [16, 5, 7]

        page = await http.get(path, params={"format": "html"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'unsafe-inline'")
        assert page.headers["cache-control"] == "no-store"
        assert "<script" not in page.text
        assert "My &lt;b&gt;name&lt;/b&gt; is" in page.text
        assert "Measured on 3 turns" in page.text

        plots = (await http.get(f"{path}/plots")).json()
        assert "levels" in plots
        for svg in plots.values():
            assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
            assert svg in page.text
        assert (await http.get(path, params={"format": "pdf"})).status_code == 422


async def test_there_is_no_report_before_the_end_nor_of_nobody(serve):
    running = await serve()
    async with running.chat("?extras=1") as chat, running.http() as http:
        await chat.until("ai_text", is_complete=True)
        for path in ("report", "report?format=html", "report/plots"):
            response = await http.get(f"/api/sessions/{chat.seen[0]['session_id']}/{path}")
            assert response.status_code == 409
            assert response.json()["type"] == "urn:parley:problem:session-live"
            assert (await http.get(f"/api/sessions/unknown/{path}")).status_code == 404


async def test_the_report_is_guarded_as_its_neighbours_are(serve):
    running = await serve(auth={"token": "a secret"})
    async with running.http() as http:
        for path in ("report", "report?format=html", "report/plots"):
            assert (await http.get(f"/api/sessions/any/{path}")).status_code == 401
            evil = await http.get(f"/api/sessions/any/{path}", headers={"Host": "evil.example"})
            assert evil.status_code == 403
