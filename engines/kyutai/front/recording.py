"""A recording that was posted, as the engine wants it: mono, 24 kHz, 32-bit floats."""

from __future__ import annotations

import tempfile

import numpy as np
import numpy.typing as npt

RATE_HZ = 24_000


class Unreadable(ValueError):
    """No recording in a format that is known; the text says so to the client."""


def decoded(data: bytes) -> npt.NDArray[np.float32]:
    """The first channel of a WAV, FLAC, MP3 or Ogg-Opus file, shape ``[samples]``.

    :raises Unreadable: where it is none of these, or empty
    """
    import sphn

    try:
        if data.startswith(b"OggS"):
            pcm, rate_hz = sphn.read_opus_bytes(data)
        else:
            # The decoder reads files only.
            with tempfile.NamedTemporaryFile(prefix="parley-") as file:
                file.write(data)
                file.flush()
                pcm, rate_hz = sphn.read(file.name)
    except (ValueError, OSError) as e:
        # The text of the decoder names the temporary file.
        raise Unreadable(f"no audio file that can be read: {str(e).rsplit(': ', 1)[-1]}") from None
    if pcm.shape[-1] == 0:
        raise Unreadable("an audio file without audio")
    audio = np.ascontiguousarray(pcm[0], np.float32)
    if int(rate_hz) != RATE_HZ:
        wanted = round(len(audio) * RATE_HZ / rate_hz)
        audio = np.asarray(sphn.resample(audio, int(rate_hz), RATE_HZ), np.float32)[:wanted]
    if not np.isfinite(audio).all():
        raise Unreadable("an audio file with samples that are not finite")
    return audio
