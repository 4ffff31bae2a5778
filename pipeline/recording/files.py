"""The files of one recording, and how two raw tracks become one file.

While a call runs there are ``learner.pcm`` (16 kHz) and ``tutor.pcm`` (24 kHz), mono pcm16 little-endian from the same moment
on, silence included (as holes, where the file system has them), and ``recording.json``, which says when that moment was.
Nothing of this needs an orderly end, so what a killed process left can be finished by the next one. ``finish`` makes
``recording.flac`` or ``recording.ogg`` of them (learner left, tutor right, 24 kHz) and removes the tracks.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from pipeline.messages import INPUT_RATE_HZ, OUTPUT_RATE_HZ

Voice = Literal["learner", "tutor"]
Format = Literal["flac", "opus"]

RATES_HZ: dict[Voice, int] = {"learner": INPUT_RATE_HZ, "tutor": OUTPUT_RATE_HZ}
RATE_HZ = OUTPUT_RATE_HZ
"""Of the finished file."""
ABOUT = "recording.json"
NAMES: dict[Format, str] = {"flac": "recording.flac", "opus": "recording.ogg"}
MEDIA_TYPES = {".flac": "audio/flac", ".ogg": "audio/ogg"}
BLOCK_S = 1


class InUse(RuntimeError):
    """A running call still writes this recording."""


@dataclass(frozen=True, slots=True)
class About:
    """``recording.json``: the wall clock, in seconds since the epoch, of sample 0, and the format to finish in."""

    started_at: float
    format: Format = "flac"

    def write(self, folder: Path) -> None:
        """Put it into ``folder``."""
        (folder / ABOUT).write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> About | None:
        """What ``folder`` says of itself; ``None`` where it says nothing that can be read."""
        try:
            data = json.loads((folder / ABOUT).read_text())
            return cls(float(data["started_at"]), "opus" if data.get("format") == "opus" else "flac")
        except (OSError, ValueError, KeyError, TypeError):
            return None


def track(folder: Path, voice: Voice) -> Path:
    """The raw track of a voice."""
    return folder / f"{voice}.pcm"


def hold(file: IO[bytes]) -> None:
    """Mark an open track as being written; the mark goes with the process. Raises ``InUse``."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        raise InUse(str(e)) from None


def finished(folder: Path) -> Path | None:
    """The finished file of ``folder``, if there is one."""
    return next((path for name in NAMES.values() if (path := folder / name).is_file()), None)


def has_tracks(folder: Path) -> bool:
    """Whether there are raw tracks to finish."""
    return any(track(folder, voice).is_file() for voice in RATES_HZ)


def size(folder: Path) -> int:
    """Bytes that a recording takes up on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if path.is_file())


def finish(folder: Path) -> Path | None:
    """Make one file of the raw tracks; returns it, or ``None`` where there is nothing to make it of. Blocks.

    Raises:
        InUse: a call still writes.
        OSError: the disk is full, or the like; the tracks are kept.
    """
    if not has_tracks(folder):
        return finished(folder)
    about = About.read(folder) or About(folder.stat().st_mtime)
    target = folder / NAMES[about.format]
    part = folder / f".{target.name}.part"
    files: dict[Voice, IO[bytes]] = {}
    try:
        for voice in RATES_HZ:
            path = track(folder, voice)
            if path.is_file():
                files[voice] = path.open("r+b")
                hold(files[voice])
        frames = max(-(-os.fstat(f.fileno()).st_size // 2 * RATE_HZ // RATES_HZ[v]) for v, f in files.items())
        try:
            _write(files, part, about.format, frames)
        except soundfile.LibsndfileError as e:
            raise OSError(f"{part}: {e}") from e
        with part.open("rb") as f:
            os.fsync(f.fileno())
        part.replace(target)
        for voice in files:
            track(folder, voice).unlink()
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        for file in files.values():
            file.close()
    return target


def remove(folder: Path) -> None:
    """Delete a recording. Raises ``OSError`` where something of it is left."""
    if folder.exists():
        shutil.rmtree(folder)


def _write(files: dict[Voice, IO[bytes]], part: Path, kind: Format, frames: int) -> None:
    voices = {voice: _Reader(files.get(voice), rate_hz) for voice, rate_hz in RATES_HZ.items()}
    how: dict[str, Any] = {"format": "FLAC", "subtype": "PCM_16"} if kind == "flac" else {"format": "OGG", "subtype": "OPUS"}
    with soundfile.SoundFile(part, "w", RATE_HZ, 2, **how) as out:
        left = frames
        while left > 0:
            count = min(left, BLOCK_S * RATE_HZ)
            out.write(np.stack([voices["learner"].read(count), voices["tutor"].read(count)], axis=1))
            left -= count


class _Reader:
    """A track at ``RATE_HZ``, in pieces of any length, with silence after its end."""

    def __init__(self, file: IO[bytes] | None, rate_hz: int) -> None:
        self._file = file
        self._rate_hz = rate_hz
        self._resampler = None if rate_hz == RATE_HZ else soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")
        self._ready: npt.NDArray[np.int16] = np.zeros(0, np.int16)

    def read(self, count: int) -> npt.NDArray[np.int16]:
        """The next ``count`` samples."""
        while len(self._ready) < count and self._file is not None:
            data = self._file.read(BLOCK_S * self._rate_hz * 2)
            piece: npt.NDArray[np.int16] = np.frombuffer(data[: len(data) // 2 * 2], np.int16)
            last = not data
            if self._resampler is not None:
                piece = self._resampler.resample_chunk(piece, last=last)
            self._ready = np.concatenate([self._ready, piece])
            if last:
                self._file = None
        out, self._ready = self._ready[:count], self._ready[count:]
        return out if len(out) == count else np.concatenate([out, np.zeros(count - len(out), np.int16)])
