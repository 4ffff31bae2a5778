"""Messages as a SIP telephone writes them, for the tests of the pure parts, and a reader of answers that is their own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from web.doors.phone.sip.agent import UserAgent
from web.doors.phone.sip.dialog import Output, Send
from web.doors.phone.sip.message import Response, parse

HERE = ("192.0.2.20", 5060)
THERE = ("192.0.2.10", 5062)
OFFER = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)


def tokens() -> Any:
    """Names in a row, instead of random ones."""
    numbers = itertools.count(1)
    return lambda: f"t{next(numbers):04d}"


def request(
    method: str,
    *,
    branch: str,
    cseq: int = 1,
    to_tag: str = "",
    from_tag: str = "f1",
    call_id: str = "c1",
    body: str = "",
    extra: str = "",
    uri: str = "sip:100@192.0.2.20",
    via: str = "192.0.2.10:5062",
) -> bytes:
    """A request of the other side."""
    kind = "Content-Type: application/sdp\r\n" if body and "Content-Type" not in extra else ""
    to = "<sip:100@192.0.2.20>" + (f";tag={to_tag}" if to_tag else "")
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:anna@192.0.2.10>;tag={from_tag}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
        f"Contact: <sip:anna@192.0.2.10:5062>\r\n{extra}{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


@dataclass
class Side:
    """A user agent, what it says, and what it has told; the time goes where the test puts it."""

    agent: UserAgent = field(default_factory=lambda: UserAgent(tokens()))
    now: float = 100.0
    told: list[Any] = field(default_factory=list)
    sent: list[Send] = field(default_factory=list)

    def take(self, outputs: list[Output]) -> list[str]:
        """The first lines of what is sent; the rest goes to ``told``."""
        lines = []
        for output in outputs:
            if isinstance(output, Send):
                self.sent.append(output)
                lines.append(output.data.split(b"\r\n")[0].decode())
            else:
                self.told.append(output)
        return lines

    def receive(self, data: bytes, source: tuple[str, int] = THERE) -> list[str]:
        return self.take(self.agent.receive(parse(data), source, HERE, self.now))

    def pass_time(self, seconds: float, step: float = 0.1) -> list[tuple[float, str]]:
        """What is sent meanwhile, with its time from now."""
        start, sent = self.now, []
        for i in range(1, round(seconds / step) + 1):
            self.now = start + i * step
            sent += [(round(self.now - start, 1), line) for line in self.take(self.agent.tick(self.now))]
        return sent

    def last(self) -> Response:
        message = parse(self.sent[-1].data)
        assert isinstance(message, Response)
        return message

    def answered(self, *, ack: bool = True, body: str = OFFER, extra: str = "") -> str:
        """A call that was taken (and confirmed); its key."""
        self.receive(request("INVITE", branch="i1", body=body, extra=extra))
        key = str(self.told[-1].key)
        assert self.take(self.agent.accept(key, ("192.0.2.20", 16_384), self.now)) == ["SIP/2.0 200 OK"]
        if ack:
            assert self.receive(request("ACK", branch="a1", to_tag=key)) == []
        return key
