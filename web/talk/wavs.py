"""WAV files in and out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from web.talk.errors import TalkError
from web.talk.listening import Pcm16

MAX_WAV_S = 600.0


def read_wav(path: Path, rate_hz: int) -> Pcm16:
    """A WAV file as mono pcm16 at ``rate_hz``, shape ``(samples,)``; channels are averaged.

    Raises:
        TalkError: naming the file, where it is absent, unreadable, not PCM of 8, 16, 24 or 32 bits, empty, or too long.
    """
    try:
        with wave.open(str(path), "rb") as file:
            rate, channels, width, frames = file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()
            if rate <= 0 or channels <= 0:
                raise TalkError(f"{path}: not a usable WAV file: no sample rate or no channel")
            if frames / rate > MAX_WAV_S:
                raise TalkError(f"{path}: {frames / rate:.0f} s long; at most {MAX_WAV_S:.0f} s are played")
            raw = file.readframes(frames)
    except FileNotFoundError:
        raise TalkError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise TalkError(f"{path}: is a directory, not a WAV file") from None
    except OSError as e:
        raise TalkError(f"{path}: cannot be read: {e.strerror or e}") from None
    except (wave.Error, EOFError, RuntimeError) as e:  # RuntimeError: a chunk that claims to be longer than the file
        raise TalkError(f"{path}: not a WAV file that can be read: {e or 'it ends too soon'}") from None
    samples = _decode(raw[: len(raw) // (width * channels) * (width * channels)], width, path)
    mono = samples.reshape(-1, channels).mean(axis=1)
    if not mono.size:
        raise TalkError(f"{path}: holds no audio")
    if rate != rate_hz:
        mono = soxr.resample(mono, rate, rate_hz)
    pcm: Pcm16 = np.clip(np.round(mono * 32768.0), -32768, 32767).astype(np.int16)
    return pcm


def _decode(raw: bytes, width: int, path: Path) -> NDArray[np.float64]:
    """Interleaved PCM bytes as float64 in [-1, 1); 8 bits are unsigned (RIFF's rule), the others little-endian signed."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128.0) / 128.0
    if width == 2:
        return np.frombuffer(raw, "<i2").astype(np.float64) / 32768.0
    if width == 3:
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3).astype(np.int32)
        return ((parts[:, 0] << 8 | parts[:, 1] << 16 | parts[:, 2] << 24) >> 8) / 8388608.0
    if width == 4:
        return np.frombuffer(raw, "<i4").astype(np.float64) / 2147483648.0
    raise TalkError(f"{path}: {width * 8} bits a sample are not supported (8, 16, 24 or 32)")


class Recording:
    """The tutor's audio on its own time line, written to a WAV file as it arrives; gaps between messages become silence."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        try:
            self._raw = path.open("wb")
        except OSError as e:
            raise TalkError(f"{path}: cannot be written: {e.strerror or e}") from None
        self._file = wave.open(self._raw, "wb")  # noqa: SIM115 - lives as long as the call
        self._file.setnchannels(1)
        self._file.setsampwidth(2)
        self._file.setframerate(rate_hz)
        self._rate_hz = rate_hz
        self._origin: float | None = None
        self._written = 0

    def add(self, pcm: Pcm16, at: float) -> None:
        """``pcm``, which arrived at ``at``."""
        if self._origin is None:
            self._origin = at
        gap = int((at - self._origin) * self._rate_hz) - self._written
        if gap > self._rate_hz // 10:  # less than 100 ms is jitter, not silence
            self._file.writeframes(bytes(2 * gap))
            self._written += gap
        self._file.writeframes(pcm.astype("<i2").tobytes())
        self._written += len(pcm)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._raw.close()
