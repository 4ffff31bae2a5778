"""Audio files as people send them."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pipeline.upload import TooLong, UnknownKind, UploadError, decode, kind_of


@pytest.fixture
def convert(tmp_path: Path, flite_wav):
    def make(name: str, *options: str) -> bytes:
        out = tmp_path / name
        source = flite_wav("my name is anna")
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *options, out], check=True, stdin=subprocess.DEVNULL)
        return out.read_bytes()

    return make


@pytest.mark.parametrize(
    ("name", "options", "kind"),
    [
        ("a.wav", (), "wav"),
        ("a.wav", ("-ac", "2", "-ar", "44100", "-c:a", "pcm_s24le"), "wav"),
        ("a.mp3", (), "mp3"),
        ("a.mp3", ("-id3v2_version", "0", "-write_xing", "0"), "mp3"),
        ("a.ogg", ("-c:a", "libopus"), "ogg"),
        ("a.ogg", ("-c:a", "libvorbis"), "ogg"),
        ("a.webm", ("-c:a", "libopus"), "matroska"),
        ("a.m4a", ("-c:a", "aac"), "mp4"),
        ("a.flac", (), "flac"),
    ],
)
def test_every_kind_is_read_in_full(convert, flite_wav, name, options, kind):
    data = convert(name, *options)
    assert kind_of(data) == kind
    pcm = np.frombuffer(decode(data, 60.0), np.int16).astype(float)
    whole = np.frombuffer(decode(Path(flite_wav("my name is anna")).read_bytes(), 60.0), np.int16).astype(float)
    assert abs(len(pcm) - len(whole)) < 0.1 * 16_000
    assert abs(20 * np.log10(np.sqrt(np.mean(pcm**2)) / np.sqrt(np.mean(whole**2)))) < 3.5, (
        "ffmpeg makes a channel of two 3 dB quieter"
    )


@pytest.mark.parametrize(
    "data",
    [b"hello, this is text", b"<html></html>", b"\x89PNG\r\n\x1a\n" + bytes(100), b"#EXTM3U\nfile:///etc/passwd\n", bytes(50)],
)
def test_what_is_no_audio_is_named_so(data):
    with pytest.raises(UnknownKind, match="not an audio file of a known kind"):
        decode(data, 60.0)


def test_bad_files_are_named(convert, tmp_path):
    with pytest.raises(UploadError, match="empty"):
        decode(b"", 60.0)
    with pytest.raises(TooLong, match=r"longer than 0\.5 s"):
        decode(convert("a.wav"), 0.5)
    with pytest.raises(UploadError, match=r"damaged|no audio"):
        decode(convert("a.m4a")[:200], 60.0)
    with pytest.raises(UploadError, match=r"damaged|no audio"):
        decode(b"OggS" + bytes(500), 60.0)
    silent = tmp_path / "silent.wav"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono", "-t", "1", silent], check=True, timeout=60
    )
    with pytest.raises(UploadError, match="only silence"):
        decode(silent.read_bytes(), 60.0)
    film = tmp_path / "film.webm"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=0.2:s=64x64", "-c:v", "libvpx", film], check=True, timeout=60
    )
    with pytest.raises(UploadError, match="no audio track"):
        decode(film.read_bytes(), 60.0)


@pytest.mark.parametrize("rate_hz", [1, 999, 768_001, 1_900_000_000])
def test_absurd_rates_are_refused_before_a_resampler_is_made_for_them(rate_hz):
    header = b"RIFF" + struct.pack("<I", 9_636) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate_hz, 32_000, 2, 16)
    with pytest.raises(UploadError, match=f"sample rate of {rate_hz} Hz"):
        decode(header + b"data" + struct.pack("<I", 9_600) + bytes(9_600), 60.0)
