"""A SIP telephone for tests, written from RFC 3261 and RFC 3550 and sharing no code with what it calls: it dials, talks in real
time, presses keys, and checks what it is sent.
"""

from __future__ import annotations

import asyncio
import audioop
import contextlib
import re
import secrets
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from web.talk.wavs import read_wav

LIVENESS_S = 30.0
PIECE = 160
COMFORT = 11
"""Amplitude of what a silent room sounds like."""


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._take(data, (addr[0], addr[1]))


class Telephone:
    """One telephone, one call: ``await ready()``, ``dial()``; then ``say``, ``press``, ``hang_up``."""

    def __init__(self, port: int, *, codec: int = 0, host: str = "127.0.0.1", user: str = "anna") -> None:
        self.server = (host, port)
        self.codec = codec
        self.user = user
        self.call_id = secrets.token_hex(8)
        self.tag = secrets.token_hex(4)
        self.messages: list[tuple[str, dict[str, str], str]] = []
        self.heard = bytearray()
        """pcm16, 8 kHz, in the order of the packets' numbers as they came."""
        self.sequences: list[int] = []
        self.timestamps: list[int] = []
        self.arrivals: list[float] = []
        self.ended = asyncio.Event()
        """The server has hung up, or refused."""
        self.frames = 0
        self.remote: tuple[str, int] | None = None
        self.cseq = 1
        self.to = f"<sip:tutor@{host}:{port}>"
        self.branch = ""
        self.auto_ack = True
        self.talking = False
        self.mute = False
        """Whether nothing is sent any more, as when the telephone was unplugged."""
        self._rng = np.random.default_rng(7)
        self._voice = np.zeros(0, np.int16)
        self._said = asyncio.Event()
        self._keys: list[str] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._rtp_sequence = 65_500  # wraps soon
        self._rtp_timestamp = 2**32 - 4_000
        self._source = secrets.randbits(32)

    async def ready(self) -> Telephone:
        loop = asyncio.get_running_loop()
        self.sip, _ = await loop.create_datagram_endpoint(lambda: _Socket(self._message), local_addr=("127.0.0.1", 0))
        self.rtp, _ = await loop.create_datagram_endpoint(lambda: _Socket(self._packet), local_addr=("127.0.0.1", 0))
        self.sip_port = self.sip.get_extra_info("sockname")[1]
        self.rtp_port = self.rtp.get_extra_info("sockname")[1]
        return self

    # Signalling

    def send(
        self, method: str, *, body: str = "", to: str | None = None, branch: str = "", extra: str = "", cseq: int | None = None
    ) -> None:
        self.branch = branch or f"z9hG4bK{secrets.token_hex(6)}"
        kind = f"Content-Type: {'application/dtmf-relay' if method == 'INFO' else 'application/sdp'}\r\n" if body else ""
        text = (
            f"{method} sip:tutor@{self.server[0]}:{self.server[1]} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.sip_port};branch={self.branch};rport\r\n"
            f'Max-Forwards: 70\r\nFrom: "Anna" <sip:{self.user}@127.0.0.1>;tag={self.tag}\r\nTo: {to or self.to}\r\n'
            f"Call-ID: {self.call_id}\r\nCSeq: {self.cseq if cseq is None else cseq} {method}\r\n"
            f"Contact: <sip:{self.user}@127.0.0.1:{self.sip_port}>\r\n{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.sip.sendto(text.encode(), self.server)

    def description(
        self, *, formats: str = "0 8 101", direction: str = "sendrecv", port: int | None = None, protocol: str = "RTP/AVP"
    ) -> str:
        return (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {port or self.rtp_port} {protocol} {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
        )

    async def dial(self, body: str | None = None) -> str:
        """INVITE, and ACK where it is taken. The final answer's status."""
        await self.ready()
        formats = f"{self.codec} 101"
        self.invite_branch = f"z9hG4bK{secrets.token_hex(6)}"
        self.send("INVITE", body=self.description(formats=formats) if body is None else body, branch=self.invite_branch)
        return (await self.answer("INVITE"))[0]

    async def answer(self, method: str, cseq: int | None = None) -> tuple[str, dict[str, str], str]:
        """The final answer to a request of ours."""
        wanted = f"{self.cseq if cseq is None else cseq} {method}"

        def final() -> tuple[str, dict[str, str], str] | None:
            return next((m for m in self.messages if re.match(r"[2-6]\d\d", m[0]) and m[1]["cseq"] == wanted), None)

        await self.until(final, f"an answer to {wanted}")
        found = final()
        assert found is not None
        return found

    def _message(self, data: bytes, source: tuple[str, int]) -> None:
        assert source == self.server, "answers come from where requests go to"
        head, _, body = data.decode().partition("\r\n\r\n")
        first, *lines = head.split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            headers.setdefault(name.lower(), value)
        assert int(headers["content-length"]) == len(body.encode())
        assert headers["call-id"] == self.call_id
        if not first.startswith("SIP/2.0 "):
            self._requested(first.split(" ")[0], headers, body)
            return
        status = first.split(" ")[1]
        self.messages.append((status, headers, body))
        assert f"tag={self.tag}" in headers["from"]
        if headers["cseq"].endswith(" INVITE") and status >= "200":
            self._answered(status, headers, body)

    def _answered(self, status: str, headers: dict[str, str], body: str) -> None:
        number = int(headers["cseq"].split(" ")[0])
        if status >= "300":
            self.send("ACK", to=headers["to"], branch=getattr(self, "invite_branch", ""), cseq=number)
            if not self.talking:
                self.ended.set()
            return
        self.to = headers["to"]
        found = re.search(r"m=audio (\d+) RTP/AVP (\d+)", body)
        assert found is not None
        host = re.search(r"c=IN IP4 (\S+)", body)
        assert host is not None
        self.remote = (host[1], int(found[1]))
        assert int(found[1]) % 2 == 0, "sound is on even ports"
        if self.auto_ack:
            self.acknowledge(number)

    def acknowledge(self, number: int | None = None, body: str = "") -> None:
        self.send("ACK", cseq=self.cseq if number is None else number, body=body)
        if not self.talking:
            self.talking = True
            self._tasks.append(asyncio.create_task(self._talk()))

    def _requested(self, method: str, headers: dict[str, str], body: str) -> None:
        self.messages.append((method, headers, body))
        assert method == "BYE", method
        reply = "\r\n".join(
            [
                "SIP/2.0 200 OK",
                *(f"{n}: {headers[n.lower()]}" for n in ("Via", "From", "To", "Call-ID", "CSeq")),
                "Content-Length: 0",
                "",
                "",
            ]
        )
        self.sip.sendto(reply.encode(), self.server)
        self.ended.set()

    async def hang_up(self) -> None:
        self.cseq += 1
        self.send("BYE")
        assert (await self.answer("BYE"))[0] == "200"
        self.ended.set()

    # Sound

    def packet(self, payload_type: int, payload: bytes, *, timestamp: int | None = None, marker: bool = False) -> bytes:
        at = self._rtp_timestamp if timestamp is None else timestamp
        header = struct.pack(
            "!BBHII", 0x80, payload_type | (0x80 if marker else 0), self._rtp_sequence & 0xFFFF, at & 0xFFFFFFFF, self._source
        )
        self._rtp_sequence += 1
        return header + payload

    async def _talk(self) -> None:
        loop, due = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        while not self.ended.is_set():
            if self._keys:
                due = await self._press(self._keys.pop(0), due)
                continue
            voice, self._voice = self._voice[:PIECE], self._voice[PIECE:]
            if not len(voice):
                self._said.set()
            samples = self._rng.normal(0, COMFORT, PIECE).astype(np.int16)
            samples[: len(voice)] += voice
            encode = audioop.lin2ulaw if self.codec == 0 else audioop.lin2alaw
            self._out(self.packet(self.codec, encode(samples.tobytes(), 2)))
            self._rtp_timestamp += PIECE
            self.frames += 1
            due += 0.02
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _press(self, key: str, due: float) -> float:
        """RFC 4733: 100 ms, told every 20 ms, its end three times."""
        loop, start = asyncio.get_running_loop(), self._rtp_timestamp
        code = "0123456789*#ABCD".index(key)
        for step in range(7):
            duration = min(step + 1, 5) * PIECE
            end = 0x80 if step >= 4 else 0
            self._out(self.packet(101, struct.pack("!BBH", code, end | 10, duration), timestamp=start, marker=step == 0))
            if step < 5:
                self._rtp_timestamp += PIECE
                due += 0.02
                await asyncio.sleep(max(0.0, due - loop.time()))
        return due

    def _out(self, data: bytes) -> None:
        assert self.remote is not None
        if not self.mute:
            self.rtp.sendto(data, self.remote)

    def _packet(self, data: bytes, source: tuple[str, int]) -> None:
        assert source == self.remote
        first, second, sequence, timestamp, _ = struct.unpack("!BBHII", data[:12])
        assert first == 0x80
        assert second & 0x7F == self.codec
        assert len(data) == 12 + PIECE, "20 ms a packet"
        if self.sequences:
            assert sequence == (self.sequences[-1] + 1) & 0xFFFF
            assert (timestamp - self.timestamps[-1]) % PIECE == 0
        self.sequences.append(sequence)
        self.timestamps.append(timestamp)
        self.arrivals.append(asyncio.get_running_loop().time())
        decode = audioop.ulaw2lin if self.codec == 0 else audioop.alaw2lin
        self.heard += decode(data[12:], 2)

    @property
    def samples(self) -> np.ndarray:
        return np.frombuffer(bytes(self.heard), np.int16)

    @property
    def voiced_s(self) -> float:
        pcm = self.samples.astype(np.float32)
        whole = pcm[: len(pcm) // PIECE * PIECE].reshape(-1, PIECE)
        return float((np.sqrt((whole**2).mean(axis=1)) > 200).sum() * 0.02)

    def play(self, samples: np.ndarray) -> None:
        self._said.clear()
        self._voice = np.concatenate([self._voice, samples.astype(np.int16)])

    async def say(self, wav: Path, *, wait: bool = True) -> None:
        self.play(read_wav(wav, 8_000))
        if wait:
            await asyncio.wait_for(self._said.wait(), LIVENESS_S)

    def press(self, key: str) -> None:
        self._keys.append(key)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time; {[m[0] for m in self.messages]}") from None

    async def close(self) -> None:
        if self.talking and not self.ended.is_set():
            with contextlib.suppress(AssertionError):
                await self.hang_up()
        self.ended.set()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "sip"):
            self.sip.close()
            self.rtp.close()
        for result in results:
            if isinstance(result, Exception):
                raise result


@contextlib.asynccontextmanager
async def phoning(*telephones: Telephone) -> AsyncIterator[Any]:
    """Puts all receivers down at the end."""
    try:
        yield telephones[0] if len(telephones) == 1 else telephones
    finally:
        await asyncio.gather(*(telephone.close() for telephone in telephones))
