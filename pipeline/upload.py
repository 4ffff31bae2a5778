"""Audio files that people send: which ones are read, and what is wrong with the others. Everything here blocks.

A file's kind is told from its first bytes and only these kinds are opened: FFmpeg also knows playlists and the like, which
would make it read other files and addresses.
"""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from pipeline.messages import INPUT_RATE_HZ

KINDS = "WAV, MP3, OGG, WebM, M4A or FLAC"
SILENT_PEAK = 32  # about -60 dBFS


class UploadError(ValueError):
    """The file cannot be a turn; the text names what is wrong."""


class UnknownKind(UploadError):
    """Not a kind of file that is read."""


class TooLong(UploadError):
    """More audio than a turn may have."""


def kind_of(data: bytes) -> str | None:
    """FFmpeg's name of the format that ``data`` begins like, or ``None``."""
    if data[:4] in (b"RIFF", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg"
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if data[4:8] == b"ftyp":
        return "mp4"
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 in (0xE2, 0xE4, 0xE6)):
        return "mp3"
    return None


MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000


def decode(data: bytes, max_s: float) -> bytes:
    """The first audio track of a file as pcm16, mono, 16 kHz.

    Raises:
        UnknownKind: not one of ``KINDS``.
        TooLong: over ``max_s`` seconds.
        UploadError: empty, damaged, without any audio, or silent.
    """
    if not data:
        raise UploadError("the file is empty")
    kind = kind_of(data)
    if kind is None:
        raise UnknownKind(f"this is not an audio file of a known kind ({KINDS})")
    limit = int(max_s * INPUT_RATE_HZ)
    pieces: list[npt.NDArray[np.int16]] = []
    samples = 0
    resampler = AudioResampler(format="s16", layout="mono", rate=INPUT_RATE_HZ)
    try:
        with av.open(io.BytesIO(data), mode="r", format=kind) as container:
            if not container.streams.audio:
                raise UploadError("the file has no audio track")
            for frame in container.decode(container.streams.audio[0]):
                # A resampler for an absurd rate takes seconds and gigabytes to make, whatever the file's length.
                if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
                    raise UploadError(f"a sample rate of {frame.sample_rate} Hz; {MIN_RATE_HZ} to {MAX_RATE_HZ} are taken")
                frame.pts = None  # gaps in the time stamps are no sound
                for out in resampler.resample(frame):
                    pieces.append(_samples(out))
                    samples += len(pieces[-1])
                if samples > limit:
                    raise TooLong(f"the audio is longer than {max_s:g} s")
            pieces += [_samples(out) for out in resampler.resample(None)]
    except (av.FFmpegError, ValueError, MemoryError) as e:
        if isinstance(e, UploadError):
            raise
        raise UploadError(f"the {kind} file is damaged: {getattr(e, 'strerror', None) or e}") from e
    audio = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if not len(audio):
        raise UploadError(f"the {kind} file holds no audio")
    if int(np.abs(audio.astype(np.int32)).max()) < SILENT_PEAK:
        raise UploadError("the file holds only silence")
    return audio.tobytes()


def _samples(frame: AudioFrame) -> npt.NDArray[np.int16]:
    return frame.to_ndarray().astype(np.int16, copy=False).reshape(-1)
