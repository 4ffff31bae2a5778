"""WAV files of every shape that the reader takes, and of some that it does not."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from web.talk.errors import TalkError
from web.talk.wavs import Recording, read_wav


def write(path: Path, samples: np.ndarray, rate: int, width: int) -> Path:
    """``samples``: float in [-1, 1), shape ``(n, channels)``."""
    if width == 1:
        raw = np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    elif width == 3:
        wide = np.round(samples * 8388607).astype("<i4").reshape(-1)
        raw = b"".join(int(v).to_bytes(3, "little", signed=True) for v in wide)
    else:
        raw = np.round(samples * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(raw)
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_every_shape_comes_out_as_the_same_tone(tmp_path: Path, width: int, channels: int, rate: int) -> None:
    t = np.arange(rate) / rate
    tone = np.repeat(0.5 * np.sin(2 * np.pi * 440 * t)[:, None], channels, axis=1)
    pcm = read_wav(write(tmp_path / "a.wav", tone, rate, width), 16_000)
    assert len(pcm) == pytest.approx(16_000, abs=2)
    spectrum = np.abs(np.fft.rfft(pcm[2_000:14_000].astype(np.float64)))
    assert np.argmax(spectrum) * 16_000 / 12_000 == pytest.approx(440, abs=2)
    rms = np.sqrt((pcm[2_000:14_000].astype(np.float64) ** 2).mean())
    assert 20 * np.log10(rms / (16_384 / np.sqrt(2))) == pytest.approx(0.0, abs=0.3)


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkError, match=r"nowhere\.wav: no such file"):
        read_wav(tmp_path / "nowhere.wav", 16_000)


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkError, match="directory"):
        read_wav(tmp_path, 16_000)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3 this is an mp3", b"RIFF\x10\0\0\0WAVEjunkjunkjunk"])
def test_a_file_that_is_no_wav_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.wav"
    path.write_bytes(content)
    with pytest.raises(TalkError, match=r"odd\.wav: not a WAV"):
        read_wav(path, 16_000)


def test_a_wav_without_audio_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkError, match="no audio"):
        read_wav(write(tmp_path / "a.wav", np.zeros((0, 1)), 16_000, 2), 16_000)


def test_a_recording_keeps_the_silence_between(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    recording = Recording(path, 24_000)
    recording.add(np.full(2400, 1000, np.int16), 50.0)
    recording.add(np.full(2400, 1000, np.int16), 50.1)
    recording.add(np.full(2400, 1000, np.int16), 52.0)
    recording.close()
    pcm = read_wav(path, 24_000)
    assert len(pcm) == pytest.approx(2.1 * 24_000, abs=10)
    assert pcm[:4700].min() > 900
    assert np.abs(pcm[5_000:47_900]).max() == 0


def test_a_recording_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(TalkError, match="cannot be written"):
        Recording(tmp_path / "absent" / "out.wav", 24_000)
