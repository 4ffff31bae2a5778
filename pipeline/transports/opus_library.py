"""libopus itself, for what FFmpeg's adapter does not offer, restoring a lost packet, and because it costs less without it.

PyAV's wheel carries a libopus of its own, which FFmpeg has loaded anyway; where PyAV was built otherwise, the system's is
taken. What is used here has been in libopus' API since its first release, so any version will do. libopus decodes to 16 kHz
itself, which costs less than FFmpeg's decoder with a resampler behind it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import av
import numpy as np
from loguru import logger

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from pipeline.transports.opus import LOW_DELAY_FROM_BPS, BadPacket, Encoder, PacketEncoder, Pcm16

_MAX_SAMPLES = INPUT_RATE_HZ * 120 // 1000  # the longest packet
_MAX_PACKET_BYTES = 1_500
_LOW_DELAY, _VOIP = 2051, 2048  # OPUS_APPLICATION_RESTRICTED_LOWDELAY and _VOIP of opus_defines.h
_SET_BITRATE, _SET_COMPLEXITY = 4002, 4010
_STEP_SAMPLES = INPUT_RATE_HZ // 400  # what is made up comes in steps of 2.5 ms


@cache
def load() -> ctypes.CDLL | None:
    """libopus with the signatures of what is used here, or ``None``, said once in the log, where there is none."""
    for place in _places():
        try:
            return _declared(ctypes.CDLL(place))
        except (OSError, AttributeError) as e:
            logger.debug(f"libopus: {place}: {e}")
    logger.warning("libopus cannot be loaded: lost packets of a learner's voice are replaced by what came before")
    return None


def _places() -> Iterator[str]:
    package = Path(av.__file__).parent
    # Where the wheels for Linux and Windows, and for macOS, put the libraries that they bring.
    for folder in (package.parent / "av.libs", package / ".dylibs"):
        yield from (str(path) for path in sorted(folder.glob("*opus*")) if "opusfile" not in path.name)
    if (system := ctypes.util.find_library("opus")) is not None:
        yield system


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    error = ctypes.POINTER(ctypes.c_int)
    library.opus_decoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, error]
    library.opus_decoder_create.restype = ctypes.c_void_p
    library.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
    library.opus_decoder_destroy.restype = None
    library.opus_decode.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int, ctypes.c_int
    ]  # fmt: skip
    library.opus_decode.restype = ctypes.c_int
    library.opus_encoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.c_int, error]
    library.opus_encoder_create.restype = ctypes.c_void_p
    library.opus_encoder_destroy.argtypes = [ctypes.c_void_p]
    library.opus_encoder_destroy.restype = None
    library.opus_encoder_ctl.restype = ctypes.c_int
    library.opus_encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32]
    library.opus_encode.restype = ctypes.c_int32
    library.opus_strerror.argtypes = [ctypes.c_int]
    library.opus_strerror.restype = ctypes.c_char_p
    return library


class LibraryEncoder(PacketEncoder):
    """24 kHz mono pcm16 to Opus packets of 20 ms, at two thirds of what FFmpeg's adapter costs. Not for several threads.

    Args:
        library: What ``load`` returned.
        bitrate_bps, complexity: As for ``pipeline.transports.opus.Encoder``, whose mode it chooses likewise.
    """

    def __init__(self, library: ctypes.CDLL, bitrate_bps: int, complexity: int) -> None:
        super().__init__()
        self._library = library
        error = ctypes.c_int()
        application = _LOW_DELAY if bitrate_bps >= LOW_DELAY_FROM_BPS else _VOIP
        self._state = library.opus_encoder_create(OUTPUT_RATE_HZ, 1, application, ctypes.byref(error))
        if not self._state:
            raise MemoryError(_text(library, error.value))
        weakref.finalize(self, library.opus_encoder_destroy, self._state)
        for request, value in ((_SET_BITRATE, bitrate_bps), (_SET_COMPLEXITY, complexity)):
            code = library.opus_encoder_ctl(ctypes.c_void_p(self._state), ctypes.c_int(request), ctypes.c_int32(value))
            if code < 0:
                raise ValueError(_text(library, code))
        self._packet = ctypes.create_string_buffer(_MAX_PACKET_BYTES)

    def _encode(self, samples: Pcm16) -> bytes:
        pcm = np.ascontiguousarray(samples)
        size = self._library.opus_encode(self._state, pcm.ctypes.data, len(pcm), self._packet, _MAX_PACKET_BYTES)
        if size < 0:
            raise ValueError(_text(self._library, size))
        return self._packet.raw[:size]


def make_encoder(bitrate_bps: int, complexity: int) -> PacketEncoder:
    """libopus' own encoder, or FFmpeg's where the library cannot be loaded."""
    # Its settings go through a C function with a variable number of arguments, which ctypes cannot call on Apple's ARM.
    library = None if sys.platform == "darwin" else load()
    return Encoder(bitrate_bps, complexity) if library is None else LibraryEncoder(library, bitrate_bps, complexity)


class LibraryDecoder:
    """Opus to 16 kHz mono, with the packets that did not come. Not for several threads.

    Args:
        library: What ``load`` returned.
    """

    delay_s = 0.0
    """By how much the samples lie behind their packet's time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        error = ctypes.c_int()
        self._state = library.opus_decoder_create(INPUT_RATE_HZ, 1, ctypes.byref(error))
        if not self._state:
            raise MemoryError(_text(library, error.value))
        weakref.finalize(self, library.opus_decoder_destroy, self._state)
        self._samples: Pcm16 = np.zeros(_MAX_SAMPLES, np.int16)

    def decode(self, payload: bytes) -> Pcm16:
        """The packet's samples, int16 of shape (n,).

        Raises:
            BadPacket: when the payload is empty or not Opus.
        """
        if not payload:
            raise BadPacket("empty packet")  # which libopus would take for a lost one
        return self._decode(payload, _MAX_SAMPLES, restore=False)

    def conceal(self, samples: int, following: bytes | None = None) -> Pcm16:
        """What may have been in packets that were lost, int16 of shape (samples,).

        Args:
            samples: How many are missing, at 16 kHz.
            following: The packet right after them. If it holds a copy of the lost one (in-band FEC), that is decoded; otherwise
                the sound so far is continued, as without it.
        """
        missing = -(-samples // _STEP_SAMPLES) * _STEP_SAMPLES
        parts = []
        while missing > 0:
            count = min(missing, _MAX_SAMPLES)
            last = following if count == missing else None
            try:
                parts.append(self._decode(last, count, restore=last is not None))
            except BadPacket:  # what follows is no Opus either
                parts.append(self._decode(None, count, restore=False))
            missing -= count
        made_up = np.concatenate(parts) if parts else np.zeros(0, np.int16)
        return made_up[len(made_up) - samples :]

    def can_restore(self, following: bytes) -> bool:
        """Whether ``following`` holds a copy of the packet before it. An old libopus cannot tell: ``False``."""
        ask = getattr(self._library, "opus_packet_has_lbrr", None)
        return ask is not None and bool(following) and ask(following, len(following)) == 1

    def _decode(self, payload: bytes | None, room: int, *, restore: bool) -> Pcm16:
        size = len(payload) if payload is not None else 0
        count = self._library.opus_decode(self._state, payload, size, self._samples.ctypes.data, room, int(restore))
        if count < 0:
            raise BadPacket(_text(self._library, count))
        return self._samples[:count].copy()


def _text(library: ctypes.CDLL, code: int) -> str:
    return str(library.opus_strerror(code).decode())
