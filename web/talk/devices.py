"""A microphone and a loudspeaker: what a call in a terminal needs of them, and the sound card's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import soxr

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ
from web.talk.errors import TalkError

LATENCY_S = 0.1
"""Asked of the sound card. Less than this breaks up where a sound server stands between it and us."""
BLOCK_S = 0.02
NO_PORTAUDIO = (
    "no sound: the PortAudio library is missing; install it (Debian, Ubuntu: sudo apt-get install libportaudio2; "
    "Fedora: sudo dnf install portaudio)"
)

Captured = Callable[[bytes], object]
"""Given mono pcm16 at 16 kHz as it is captured, from any thread."""
Fill = Callable[[int], bytes]
"""Asked for that many samples of mono pcm16 at 24 kHz, from any thread; always gives as many."""


class AudioDevices(Protocol):
    """A microphone and a loudspeaker that run from ``start`` to ``stop``."""

    @property
    def output_latency_s(self) -> float:
        """From ``fill`` to the ear."""

    def start(self, captured: Captured, fill: Fill) -> None:
        """Open both.

        Raises:
            TalkError: one of them cannot be had.
        """

    def stop(self) -> None:
        """Close both; nothing is called after it. Safe to call twice."""


class SoundCard:
    """The system's default devices, through PortAudio.

    A device that does not run at the call's rate runs at its own, and the audio is resampled here.
    """

    def __init__(self) -> None:
        try:
            import sounddevice  # when chosen: it loads PortAudio, which may be missing
        except OSError:
            raise TalkError(NO_PORTAUDIO) from None
        self._sd: Any = sounddevice
        self._streams: list[Any] = []
        self.output_latency_s = LATENCY_S

    def start(self, captured: Captured, fill: Fill) -> None:
        try:
            self._open("microphone", self._sd.RawInputStream, INPUT_RATE_HZ, lambda hz: _capturing(captured, hz))
            self._open("loudspeaker", self._sd.RawOutputStream, OUTPUT_RATE_HZ, lambda hz: _filling(fill, hz))
            self.output_latency_s = float(self._streams[1].latency)
            for stream in self._streams:
                stream.start()
        except self._sd.PortAudioError as e:
            self.stop()
            raise TalkError(f"no sound: {_first_line(e)}") from None
        except TalkError:
            self.stop()
            raise

    def stop(self) -> None:
        for stream in self._streams:
            stream.close()  # stops it first
        self._streams.clear()

    def _open(self, what: str, kind: Any, rate_hz: int, callback: Callable[[int], Any]) -> None:
        side = "input" if what == "microphone" else "output"
        try:
            own_hz = int(self._sd.query_devices(kind=side)["default_samplerate"])
        except (self._sd.PortAudioError, ValueError) as e:
            raise TalkError(f"no {what}: {_first_line(e)}; is one connected, and may this terminal use it?") from None
        for hz in (rate_hz, own_hz):
            options = {"samplerate": hz, "channels": 1, "dtype": "int16", "blocksize": int(BLOCK_S * hz), "latency": LATENCY_S}
            try:
                self._streams.append(kind(callback=callback(hz), **options))
                return
            except self._sd.PortAudioError as e:
                problem = _first_line(e)
        raise TalkError(f"no {what}: {problem}")


def _capturing(captured: Captured, rate_hz: int) -> Callable[..., None]:
    resampler = None if rate_hz == INPUT_RATE_HZ else soxr.ResampleStream(rate_hz, INPUT_RATE_HZ, 1, dtype="int16")

    def callback(data: Any, _frames: int, _time: Any, _status: Any) -> None:
        pcm16 = bytes(data)
        captured(pcm16 if resampler is None else resampler.resample_chunk(np.frombuffer(pcm16, np.int16)).tobytes())

    return callback


def _filling(fill: Fill, rate_hz: int) -> Callable[..., None]:
    if rate_hz == OUTPUT_RATE_HZ:

        def plain(data: Any, frames: int, _time: Any, _status: Any) -> None:
            data[:] = fill(frames)

        return plain

    resampler, ready, block = soxr.ResampleStream(OUTPUT_RATE_HZ, rate_hz, 1, dtype="int16"), bytearray(), int(BLOCK_S * 24_000)

    def resampled(data: Any, frames: int, _time: Any, _status: Any) -> None:
        while len(ready) < 2 * frames:
            ready.extend(resampler.resample_chunk(np.frombuffer(fill(block), np.int16)).tobytes())
        data[:] = bytes(ready[: 2 * frames])
        del ready[: 2 * frames]

    return resampled


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
