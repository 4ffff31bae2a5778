"""Earlier sessions over REST: found by what was said, taken away as a file, and gone after they are deleted."""

from __future__ import annotations

from agent.record import CallRecord, Correction, Turn
from web.routes.history import to_markdown


async def held(running, text: str) -> str:
    async with running.chat("?extras=1") as chat:
        await chat.until("ai_text", is_complete=True)
        await chat.send({"type": "text", "text": text})
        await chat.until("transcript", is_final=True, text=text)
        await chat.until("ai_text", is_complete=True)
        await chat.send({"type": "end_conversation"})
        await chat.until("analysis")
        await chat.closed()
    async with running.http() as http:
        return (await http.get("/api/sessions")).json()["items"][0]["id"]


async def test_sessions_are_found_by_what_was_said(serve):
    running = await serve()
    first = await held(running, "My zebra eats 100% hay.")
    second = await held(running, "My cat sleeps.")

    async with running.http() as http:

        async def found(q: str) -> list[str]:
            response = await http.get("/api/sessions", params={"q": q})
            assert response.status_code == 200, response.text
            return [item["id"] for item in response.json()["items"]]

        assert await found("ZEBRA") == [first]
        assert await found("hay zebra") == [first]
        assert await found("my") == [second, first]
        assert await found("100%") == [first]
        assert await found("zebra cat") == []
        for odd in ('"', "%", "_", "\\", "' OR 1=1 --", "NEAR(", "*", "a AND", "\x00"):
            expected = [first] if odd == "%" else []
            assert await found(odd) == expected, odd
        assert await found("  ") == [second, first]


async def test_an_ended_session_is_exported_and_deleted_for_good(serve):
    running = await serve()
    session_id = await held(running, "My quokka smiles.")
    async with running.http() as http:
        kept = await http.get(f"/api/sessions/{session_id}/export")
        assert kept.headers["content-disposition"] == f'attachment; filename="parley-{session_id}.json"'
        body = kept.json()
        assert "My quokka smiles." in [turn["text"] for turn in body["turns"]]
        assert body["report"] == (await http.get(f"/api/sessions/{session_id}/report")).json()
        text = await http.get(f"/api/sessions/{session_id}/export", params={"format": "markdown"})
        assert text.headers["content-type"].startswith("text/markdown")
        assert "**You:** My quokka smiles." in text.text
        assert (await http.get(f"/api/sessions/{session_id}/export", params={"format": "exe"})).status_code == 422

        files = list(running.state.sessions.store.path.parent.glob("parley.db*"))
        assert any(b"quokka" in file.read_bytes() for file in files)
        assert (await http.delete(f"/api/sessions/{session_id}")).status_code == 204
        files = list(running.state.sessions.store.path.parent.glob("parley.db*"))
        assert not any(b"quokka" in file.read_bytes() for file in files)
        gone = await http.get(f"/api/sessions/{session_id}/export")
        assert gone.status_code == 404
        assert gone.json()["type"] == "urn:parley:problem:unknown-session"


async def test_a_running_session_is_not_exported(serve):
    running = await serve()
    async with running.chat("?extras=1") as chat, running.http() as http:
        await chat.until("ai_text", is_complete=True)
        session_id = chat.seen[0]["session_id"]
        assert (await http.get(f"/api/sessions/{session_id}/export")).status_code == 409


def test_what_was_said_is_never_markup():
    turn = Turn(0, "learner", "<b>I *goed*</b>\n# home", 0.0, 1.0, corrections=[Correction("goed", "went", "go, went")])
    text = to_markdown(CallRecord("s", 0.0, "rest", "beginner", "introductions", turns=[turn]))
    assert r"**You:** \<b\>I \*goed\*\</b\> \# home" in text
    assert "- goed → went: go, went" in text
