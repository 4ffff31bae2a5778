"""The first offer of a fresh process, with the client in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap

from aiortc import RTCSessionDescription

SERVER = """
    import asyncio, json, sys
    from pipeline.settings.tree import WebRTCSettings
    from pipeline.transports.signalling import Signalling
    from pipeline.transports.webrtc_warmup import warm_up

    async def main():
        settings = WebRTCSettings()
        assert await warm_up(settings) is not None
        print("ready", flush=True)
        signalling = Signalling(settings)
        loop = asyncio.get_running_loop()
        sdp = json.loads(await loop.run_in_executor(None, sys.stdin.readline))

        async def build(transport):
            return transport

        answer, _ = await signalling.offer(sdp, "offer", build)
        print(json.dumps(answer), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        await signalling.close()

    asyncio.run(main())
"""


async def test_first_client_of_a_fresh_process_is_served(kit):
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(SERVER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    client = kit.client()
    try:
        async with asyncio.timeout(60):
            assert await server.stdout.readline() == b"ready\n"
            server.stdin.write(json.dumps(await client.offer()).encode() + b"\n")
            answer = json.loads(await server.stdout.readline())
            await client.pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
            await kit.eventually(lambda: len(client.packets) > 2)
            server.stdin.write(b"\n")
            assert await server.wait() == 0
    finally:
        await client.close()
        if server.returncode is None:
            server.kill()
            await server.wait()
