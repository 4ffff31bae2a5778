"""SIPp as callers and as a registrar: an implementation of the protocol that is not Parley's says whether all goes by the book.

SIPp ends with 0 where every message of every call was as the scenario expects it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

SCENARIOS = Path(__file__).parent / "scenarios"
PHONE = {"sip": {"port": 0}}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def sipp(folder: Path, *args: str) -> asyncio.subprocess.Process:
    command = ["sipp", *args, "-i", "127.0.0.1", "-p", str(free_port()), "-timeout", "60", "-timeout_error", "-nostdin"]
    return await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


async def finished(process: asyncio.subprocess.Process) -> None:
    output, _ = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, output.decode(errors="replace")[-3_000:]


def address(server: Any) -> str:
    return f"127.0.0.1:{server.state.sip.port}"


async def sessions(server: Any) -> list[dict[str, Any]]:
    async with server.http() as http:
        items: list[dict[str, Any]] = (await http.get("/api/sessions?limit=100")).json()["items"]
        return items


async def test_twenty_callers_at_once_speak_and_hang_up(serve, tmp_path, flite_wav):
    server = await serve(phone=PHONE, limits={"max_calls": 20})
    voice = tmp_path / "voice.ul"
    convert = [
        "ffmpeg",
        "-loglevel",
        "error",
        "-i",
        str(flite_wav("my name is anna")),
        "-ar",
        "8000",
        "-f",
        "mulaw",
        str(voice),
    ]
    await (await asyncio.create_subprocess_exec(*convert)).wait()
    scenario = tmp_path / "speaks.xml"
    scenario.write_text((SCENARIOS / "speaks.xml").read_text().replace("VOICE", voice.name))
    ports = ["-mp", "30000"]
    callers = await sipp(
        tmp_path, address(server), "-sf", str(scenario), "-m", "20", "-l", "20", "-r", "20", "-s", "100", *ports
    )
    most = 0

    def count() -> bool:
        nonlocal most
        most = max(most, len(server.state.sip.calls))
        return callers.returncode is not None

    await server.until(count, "SIPp is through")
    await finished(callers)
    assert most == 20, "all were there at once"
    await server.until(lambda: not server.state.sip.calls and not server.state.sip.agent.dialogs, "all have gone")
    # A stretch of sound was heard in each call: 5 s are 160,000 bytes, and a file is 1.3 s of them.
    assert all(ears.audio_bytes > 20_000 for ears in server.engines["stt"].made)
    kept = await sessions(server)
    assert len(kept) == 20
    assert all(session["ended_at"] for session in kept)


async def test_callers_who_hang_up_at_once(serve, tmp_path):
    server = await serve(phone=PHONE, limits={"max_calls": 20})
    await finished(await sipp(tmp_path, address(server), "-sn", "uac", "-m", "30", "-r", "10", "-s", "100"))
    await server.until(lambda: not server.state.sip.calls and not server.state.sip.agent.dialogs, "all have gone")


async def test_callers_for_whom_there_is_no_place(serve, tmp_path):
    server = await serve(phone=PHONE, limits={"max_calls": 1})
    settled = await sipp(tmp_path, address(server), "-sn", "uac", "-m", "1", "-d", "8000", "-s", "100")
    await server.until(lambda: server.state.sip.calls, "the place is taken")
    await finished(
        await sipp(tmp_path, address(server), "-sf", str(SCENARIOS / "busy.xml"), "-m", "5", "-r", "10", "-s", "100")
    )
    await finished(settled)


async def test_a_registrar_that_asks_for_a_password_and_a_longer_time(serve, tmp_path):
    port = free_port()
    shutil.copy(SCENARIOS / "registrar.xml", tmp_path)
    args = ["-sf", "registrar.xml", "-m", "1", "-i", "127.0.0.1", "-p", str(port), "-timeout", "60", "-nostdin"]
    registrar = await asyncio.create_subprocess_exec(
        "sipp",
        *args,
        "-trace_msg",
        "-message_file",
        "messages.log",
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    account = {"registrar": f"127.0.0.1:{port}", "user": "100", "auth_user": "anna", "password": "secret", "expires_s": 60}
    server = await serve(phone={"sip": {"port": 0, **account}})
    registration = server.state.sip.registration
    assert registration is not None
    await server.until(lambda: registration.state == "registered", "it is registered")
    await server.stop()
    await finished(registrar)
    sent = (tmp_path / "messages.log").read_text()
    proofs = re.findall(
        r'Authorization: Digest .*uri="([^"]+)", response="([0-9a-f]+)", qop=auth, nc=(\d+), cnonce="(\w+)"', sent
    )
    assert [proof[2] for proof in proofs] == ["00000001", "00000002"]
    md5 = [hashlib.md5(text.encode()).hexdigest() for text in ("anna:tests:secret", "REGISTER:sip:127.0.0.1")]
    for uri, response, count, client_nonce in proofs:
        assert uri == "sip:127.0.0.1"
        whole = f"{md5[0]}:0123456789abcdef:{count}:{client_nonce}:auth:{md5[1]}"
        assert response == hashlib.md5(whole.encode()).hexdigest()


async def test_a_peer_that_asks_whether_anybody_is_there(serve, tmp_path):
    server = await serve(phone=PHONE)
    scenario = str(SCENARIOS / "options.xml")
    await finished(await sipp(tmp_path, address(server), "-sf", scenario, "-m", "50", "-r", "100"))
