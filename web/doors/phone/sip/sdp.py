"""What two telephones agree on: SDP (RFC 8866) in offers and answers (RFC 3264), for G.711 and telephone-event. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

PCMU, PCMA = 0, 8
NAMES = {PCMU: "PCMU", PCMA: "PCMA"}
EVENTS = 101
"""The payload type of telephone-event in an offer of ours."""
MAX_LINES = 512
MAX_STREAMS = 16
Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
_DIRECTIONS: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "sendonly",
    "recvonly": "recvonly",
    "inactive": "inactive",
}
_ANSWERS: dict[Direction, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class BadDescription(ValueError):
    """No session description; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One line ``m=``, with what follows it."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    host: str
    """Where it is received; empty where nothing says so."""
    direction: Direction = "sendrecv"
    names: tuple[tuple[str, str], ...] = ()
    """Payload types and their encodings, of the lines ``a=rtpmap``."""


@dataclass(frozen=True, slots=True)
class Media:
    """What was agreed on about a call's sound. ``host`` and ``port`` are the other side's."""

    host: str
    port: int
    payload_type: int
    """PCMU or PCMA."""
    events: int | None
    """The payload type of keys pressed, where they come as events."""
    direction: Direction = "sendrecv"
    """As this side sees it: ``recvonly`` is to send nothing."""

    @property
    def sends(self) -> bool:
        """Whether this side is to send."""
        return self.direction in ("sendrecv", "sendonly") and self.port != 0

    @property
    def receives(self) -> bool:
        """Whether the other side sends anything that is meant to be heard."""
        return self.direction == "sendrecv"


def parse(body: bytes) -> list[Stream]:
    """The streams of a description, in order.

    Raises:
        BadDescription: it is none.
    """
    lines = body.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
    if len(lines) > MAX_LINES or not lines[0].startswith("v=0"):
        raise BadDescription("no v=0, or too long")
    host = ""
    direction: Direction = "sendrecv"
    sections: list[list[str]] = []
    for line in lines[1:]:
        if line.startswith("m="):
            sections.append([line])
        elif sections:
            sections[-1].append(line)
        elif line.startswith("c="):
            host = _host(line)
        elif line.startswith("a="):
            direction = _DIRECTIONS.get(line[2:].strip(), direction)
    if not 0 < len(sections) <= MAX_STREAMS:
        raise BadDescription(f"{len(sections)} streams")
    return [_stream(section, host, direction) for section in sections]


def _host(line: str) -> str:
    found = re.fullmatch(r"c=IN IP[46] ([0-9A-Fa-f:.]+)(/\d+)*\s*", line, re.ASCII)
    try:
        # Names are not looked up: whoever sends an offer would choose whom this machine asks.
        return str(ip_address(found[1])) if found else ""
    except ValueError:
        return ""


def _stream(lines: list[str], host: str, direction: Direction) -> Stream:
    found = re.fullmatch(r"m=([!-~]{1,20}) (\d{1,5})(?:/\d+)? ([!-~]{1,40})((?: [!-~]{1,40}){1,64})\s*", lines[0], re.ASCII)
    if found is None or int(found[2]) > 65_535:
        raise BadDescription(f"stream {lines[0][:40]!r}")
    names = []
    for line in lines[1:]:
        if line.startswith("c="):
            host = _host(line)
        elif line.startswith("a=rtpmap:"):
            payload_type, _, encoding = line[9:].strip().partition(" ")
            names.append((payload_type, encoding.strip().lower()))
        elif line.startswith("a="):
            direction = _DIRECTIONS.get(line[2:].strip(), direction)
    return Stream(found[1], int(found[2]), found[3], tuple(found[4].split()), host, direction, tuple(names))


def agree(streams: list[Stream]) -> tuple[Media, int] | None:
    """What can be agreed on, and which of the streams it is; ``None``: there is nothing in common."""
    for index, stream in enumerate(streams):
        if stream.kind != "audio" or stream.protocol != "RTP/AVP" or stream.port == 0 or not stream.host:
            continue
        names = dict(stream.names)
        spoken = [int(f) for f in stream.formats if f in ("0", "8") and names.get(f, "").partition("/")[0] in ("", *_NAMES[f])]
        if not spoken:
            continue
        events = next((int(f) for f in stream.formats if names.get(f) == "telephone-event/8000" and _is_dynamic(f)), None)
        host, direction = stream.host, _ANSWERS[stream.direction]
        if ip_address(host).is_unspecified:
            direction = "recvonly" if direction == "sendrecv" else direction  # how RFC 2543 put a call on hold
        return Media(host, stream.port, spoken[0], events, direction), index
    return None


_NAMES = {"0": ("pcmu",), "8": ("pcma",)}


def _is_dynamic(payload_type: str) -> bool:
    return payload_type.isdigit() and 35 <= int(payload_type) <= 127


def answer(streams: list[Stream], media: Media, index: int, *, host: str, port: int, session: int, version: int) -> bytes:
    """The answer to an offer: stream ``index`` as agreed, the others refused.

    Args:
        streams: The offer's.
        media: What was agreed on, of ``agree``.
        index: Which of the streams it is.
        host: Where this side receives.
        port: The same.
        session: A number for all descriptions of this call.
        version: One more with each of them.
    """
    lines = _head(host, session, version)
    for i, stream in enumerate(streams):
        if i == index:
            lines += _audio(port, [media.payload_type], media.events, media.direction)
        else:
            lines.append(f"m={stream.kind} 0 {stream.protocol} {stream.formats[0]}")
    return _joined(lines)


def offer(*, host: str, port: int, session: int, version: int) -> bytes:
    """An offer, for a call that came without one. Arguments as in ``answer``."""
    return _joined(_head(host, session, version) + _audio(port, [PCMU, PCMA], EVENTS, "sendrecv"))


def _head(host: str, session: int, version: int) -> list[str]:
    address = f"IN IP{ip_address(host).version} {host}"
    return ["v=0", f"o=parley {session} {version} {address}", "s=-", f"c={address}", "t=0 0"]


def _audio(port: int, codecs: list[int], events: int | None, direction: Direction) -> list[str]:
    formats = [str(codec) for codec in codecs] + ([str(events)] if events is not None else [])
    lines = [f"m=audio {port} RTP/AVP {' '.join(formats)}"]
    lines += [f"a=rtpmap:{codec} {NAMES[codec]}/8000" for codec in codecs]
    if events is not None:
        lines += [f"a=rtpmap:{events} telephone-event/8000", f"a=fmtp:{events} 0-15"]
    return [*lines, "a=ptime:20", f"a={direction}"]


def _joined(lines: list[str]) -> bytes:
    return ("\r\n".join(lines) + "\r\n").encode()
