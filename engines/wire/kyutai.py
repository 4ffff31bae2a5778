"""The wire of Kyutai's speech servers: MessagePack maps whose ``type`` names the message, one a WebSocket frame.

The messages and their fields are those of moshi-server, so that its clients talk to our engine and our client to it. What
goes beyond it is opt-in: a client asks with the query ``extensions=pcm16,flush`` and the server's ``Ready`` names what it
grants. moshi-server ignores such a query and its ``Ready`` names nothing, so that a client knows where it is.

==========  ====================================================================================================
extension   adds
==========  ====================================================================================================
``pcm16``   ``Pcm16`` in the place of ``Audio``, in both directions: a twelfth of the time to pack, half the bytes
``flush``   speech to text: ``Flush``, ``Withdraw``, ``Commit`` in; ``Flushed``, ``Committed`` out
``cancel``  text to speech: ``Cancel`` in, ``Cancelled`` out
==========  ====================================================================================================

Audio is 24 kHz mono in both directions. Times are seconds from the first sample of the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import msgpack

STT_PATH = "/api/asr-streaming"
TTS_PATH = "/api/tts_streaming"
KEY_HEADER = "kyutai-api-key"
KEY_QUERY = "auth_id"
NO_FREE_CHANNELS = "no free channels"
"""The text of ``Error`` where every slot is taken."""
STT_EXTENSIONS = frozenset({"pcm16", "flush"})
TTS_EXTENSIONS = frozenset({"pcm16", "cancel"})
TTS_FORMATS = ("OggOpus", "OggOpusMessagePack", "Pcm", "PcmMessagePack")
"""What ``format`` of the query may be; the first is the default. The two without MessagePack are bare bytes and carry no
words: Ogg pages, or 32-bit floats in the machine's order."""


class WireError(ValueError):
    """A message that cannot be read; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Init:
    """To STT: begin anew."""


@dataclass(frozen=True, slots=True)
class Audio:
    """Samples in [-1, 1]; to STT, and from TTS in the format ``PcmMessagePack``."""

    pcm: list[float]


@dataclass(frozen=True, slots=True)
class Pcm16:
    """Extension ``pcm16``: little-endian 16-bit samples."""

    data: bytes


@dataclass(frozen=True, slots=True)
class OggOpus:
    """Pages of an Ogg stream with Opus; to STT, and from TTS in the format ``OggOpusMessagePack``."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Marker:
    """To STT, and back when everything sent before it was heard and written."""

    id: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The first message of a server. ``extensions``: what is granted of what was asked."""

    extensions: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """From STT: a word, as soon as the next begins or its end is sure."""

    text: str
    start_time: float


@dataclass(frozen=True, slots=True)
class EndWord:
    """From STT: when the last word ended."""

    stop_time: float


@dataclass(frozen=True, slots=True)
class Step:
    """From STT: one step of 80 ms was made. ``prs``: the pause heads, the probability that the speaker pauses for at least
    0.5, 1, 2 and 3 s (the third ends a turn). ``buffered_pcm``: samples that wait."""

    step_idx: int
    prs: list[float]
    buffered_pcm: int


@dataclass(frozen=True, slots=True)
class Error:
    """The server cannot go on; it closes the connection."""

    message: str


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word of a flush. ``stop_time`` is ``None`` where its end was not written."""

    text: str
    start_time: float
    stop_time: float | None = None


@dataclass(frozen=True, slots=True)
class Flush:
    """Extension ``flush``, to STT: the words of all that was sent so far are wanted now. ``id``: the client's name for it; a
    later flush takes the place of the one before."""

    id: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Extension ``flush``, to STT: the flush was for nothing. No answer; live words go on as if it had never been."""

    id: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Extension ``flush``, to STT: what the flush wrote holds. Live steps do not tell its words again."""

    id: int


@dataclass(frozen=True, slots=True)
class Flushed:
    """Extension ``flush``, from STT: the flush is complete. ``words``: those that no live step has told yet, in order.
    ``overtaken``: live steps have written all of them by themselves (the session's slot may also have been reset): there is
    nothing to commit."""

    id: int
    words: list[TimedWord]
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """Extension ``flush``, from STT: the words of the flush that no live step had told when it was committed. They are final,
    and not told again."""

    id: int
    words: list[TimedWord]


@dataclass(frozen=True, slots=True)
class Text:
    """To TTS: text to say (times are ``None``). From TTS: a word that is said from ``start_s`` to ``stop_s`` of the audio."""

    text: str
    start_s: float | None = None
    stop_s: float | None = None


@dataclass(frozen=True, slots=True)
class Voice:
    """To TTS, before any text: a voice by its embedding. ``embeddings``: the values in row-major order of ``shape``."""

    embeddings: list[float]
    shape: list[int]


@dataclass(frozen=True, slots=True)
class Eos:
    """To TTS: no more text comes; the server closes when all is said."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Extension ``cancel``, to TTS: nobody listens any more; the slot is freed at once."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Extension ``cancel``, from TTS: the last message."""


SttIn = Init | Audio | Pcm16 | OggOpus | Marker | Flush | Withdraw | Commit
SttOut = Ready | Word | EndWord | Step | Marker | Error | Flushed | Committed
TtsIn = Text | Voice | Eos | Cancel
TtsOut = Ready | Audio | Pcm16 | OggOpus | Text | Error | Cancelled
Message = SttIn | SttOut | TtsIn | TtsOut
M = TypeVar("M")


def pack(message: Message) -> bytes:
    """The message as moshi-server writes it: a map with ``type``, fields that are ``None`` left out."""
    return bytes(msgpack.packb(_plain(message), use_bin_type=True))


def unpack(data: bytes, kinds: Any) -> Any:
    """The message in ``data``, of one of ``kinds`` (a union such as ``SttIn``). Unknown fields are ignored, as moshi-server
    does.

    :raises WireError: where it is none of these, or a field is missing or of another type
    """
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as e:
        raise WireError(f"not MessagePack: {e or type(e).__name__}") from None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise WireError("not a map with a type")
    known = {kind.__name__: kind for kind in get_args(kinds) or (kinds,)}
    kind = known.get(value["type"])
    if kind is None:
        raise WireError(f"unknown type {value['type'][:40]!r}; there are: {', '.join(known)}")
    return _read(kind, value, kind.__name__)


def granted(asked: str, offered: Iterable[str]) -> list[str] | None:
    """The extensions of the query (separated by commas) that are offered, in the order asked; ``None`` where none was asked,
    as a ``Ready`` of moshi-server has it."""
    names = [name.strip() for name in asked.split(",") if name.strip()]
    return [name for name in dict.fromkeys(names) if name in set(offered)] if names else None


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value] if value and not isinstance(value[0], int | float | str) else value
    if not hasattr(value, "__dataclass_fields__"):
        return value
    content = {f.name: _plain(v) for f in fields(value) if (v := getattr(value, f.name)) is not None}
    return content if isinstance(value, TimedWord) else {"type": type(value).__name__, **content}


_HINTS: dict[type, dict[str, Any]] = {}


def _read(kind: type, value: Mapping[str, Any], where: str) -> Any:
    hints = _HINTS.setdefault(kind, get_type_hints(kind))
    content = {}
    for field in fields(kind):
        if value.get(field.name) is None:
            # Left to the default; a field without one is missed by the constructor.
            continue
        content[field.name] = _checked(hints[field.name], value[field.name], f"{where}.{field.name}")
    try:
        return kind(**content)
    except TypeError:
        missing = [f.name for f in fields(kind) if f.name not in content]
        raise WireError(f"{where}: {missing[0]} is missing") from None


def _checked(hint: Any, value: Any, where: str) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType] if NoneType in get_args(hint) else [hint]
    kind = kinds[0]
    if getattr(kind, "__origin__", None) is list:
        (item,) = get_args(kind)
        # moshi-server reads a Vec<u8> and a Vec<f32> alike from arrays; the samples of a frame are checked in one go.
        if not isinstance(value, list):
            raise WireError(f"{where}: an array is wanted")
        if item is float:
            if not all(type(v) is float or type(v) is int for v in value):
                raise WireError(f"{where}: numbers are wanted")
            return value
        return [_checked(item, v, where) for v in value]
    if hasattr(kind, "__dataclass_fields__") and isinstance(value, dict):
        return _read(kind, value, where)
    if kind is float and type(value) is int:
        return float(value)
    if kind is bytes and isinstance(value, list):
        try:
            return bytes(value)
        except (ValueError, TypeError):
            raise WireError(f"{where}: bytes are wanted") from None
    if type(value) is not kind:
        raise WireError(f"{where}: {kind.__name__} is wanted, not {type(value).__name__}")
    return value
