"""libopus beside FFmpeg's adapter: the same sound, and lost packets restored or continued better than silence would."""

from __future__ import annotations

import gc
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import psutil
import pytest
import soundfile
from loguru import logger

from pipeline.transports import opus_library
from pipeline.transports.opus import BadPacket, Decoder
from pipeline.transports.opus_library import LibraryDecoder

RATE = 16_000


@pytest.fixture
def decoder():
    library = opus_library.load()
    assert library is not None
    return LibraryDecoder(library)


def encode(samples, *, fec, bitrate=24_000, application="voip"):
    """Packets of 20 ms from int16 at 16 kHz; with ``fec``, each has a copy of the one before it."""
    codec = av.CodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.bit_rate = RATE, "mono", "s16", bitrate
    codec.time_base = Fraction(1, RATE)
    codec.options = {"application": application, "fec": str(int(fec)), "packet_loss": "20", "frame_duration": "20"}
    packets = []
    for i in range(0, len(samples) - 319, 320):
        frame = av.AudioFrame.from_ndarray(samples[i : i + 320].reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, i
        packets += [bytes(p) for p in codec.encode(frame)]
    return packets


@pytest.fixture
def speech(flite_wav):
    """int16 of shape (n,) at 16 kHz: a sentence."""
    samples, rate = soundfile.read(
        flite_wav("The weather was lovely, so we walked along the river all morning."), dtype="int16"
    )
    assert rate == RATE
    return samples


def test_sounds_as_with_ffmpeg(decoder, speech):
    packets = encode(speech, fec=False)
    other = Decoder()
    one = np.concatenate([decoder.decode(p) for p in packets]).astype(float)
    two = np.concatenate([other.decode(p) for p in packets]).astype(float)
    late = round(other.delay_s * RATE)
    assert decoder.delay_s == 0
    assert np.corrcoef(one[:-late], two[late:])[0, 1] > 0.99


def loss_errors(decoder, packets, gone, how):
    """Energy of what is wrong in the lost packets' time, by ``how`` they are replaced, in dB relative to what was lost."""
    library = opus_library.load()
    clean = LibraryDecoder(library)
    right = np.concatenate([clean.decode(p) for p in packets]).astype(float)
    parts = []
    for i, packet in enumerate(packets):
        if i not in gone:
            parts.append(decoder.decode(packet))
        elif how == "silence":
            parts.append(np.zeros(320, np.int16))
        else:
            parts.append(decoder.conceal(320, packets[i + 1] if how == "fec" else None))
    heard = np.concatenate(parts).astype(float)
    mask = np.zeros(len(right), bool)
    for i in gone:
        mask[i * 320 : (i + 1) * 320] = True
    error = right[mask] - heard[mask]
    return 10 * np.log10((error @ error) / (right[mask] @ right[mask]))


def test_copy_in_the_next_packet_is_far_better_than_silence(decoder, speech):
    packets = encode(speech, fec=True)
    gone = set(range(5, len(packets) - 1, 9))
    assert np.mean([decoder.can_restore(packets[i + 1]) for i in gone]) > 0.7
    restored = loss_errors(decoder, packets, gone, "fec")
    assert restored < -6  # SNR of 6 dB and more; silence has 0 by definition
    assert restored < loss_errors(LibraryDecoder(opus_library.load()), packets, gone, "plc") - 3


def test_without_a_copy_the_voice_goes_on_at_its_level(decoder, speech):
    packets = encode(speech, fec=False)
    energies = [float(np.mean(np.square(decoder.decode(p).astype(float)))) for p in packets]
    loud = [i for i in range(1, len(packets)) if min(energies[i - 1 : i + 1]) > 0.5 * np.mean(energies)]
    assert len(loud) > 20
    again = LibraryDecoder(opus_library.load())
    levels = []
    for i, packet in enumerate(packets):
        if i in loud[::6]:
            assert not again.can_restore(packet)
            made_up = again.conceal(320).astype(float)
            levels.append(10 * np.log10(np.mean(np.square(made_up)) / energies[i]))
        else:
            again.decode(packet)
    assert abs(np.median(levels)) < 3


@pytest.mark.parametrize("samples", [0, 1, 40, 160, 320, 500, 960, 1_920, 5_000])
def test_makes_up_any_length(decoder, speech, samples):
    packets = encode(speech, fec=True)
    for packet in packets[:30]:
        decoder.decode(packet)
    assert decoder.conceal(samples).shape == (samples,)
    assert decoder.conceal(samples, packets[31]).shape == (samples,)
    assert len(decoder.decode(packets[31])) == 320


def test_refuses_rubbish_and_goes_on(decoder, speech):
    packets = encode(speech, fec=False)
    decoder.decode(packets[0])
    for rubbish in (b"", b"\x03", b"\xff\xff\xff"):
        with pytest.raises(BadPacket):
            decoder.decode(rubbish)
        assert decoder.conceal(320, rubbish).shape == (320,)
        assert not decoder.can_restore(rubbish)
    assert len(decoder.decode(packets[1])) == 320


def test_decoders_leave_no_memory(decoder):
    library = opus_library.load()

    def make(count):
        for _ in range(count):
            LibraryDecoder(library)
        gc.collect()
        return psutil.Process().memory_info().rss

    before = make(200)
    assert make(2_000) - before < 10_000_000  # a decoder has 18 kB: kept, they would be 36 MB


def test_where_no_libopus_is_found_it_is_said_once(monkeypatch):
    monkeypatch.setattr(opus_library, "_places", lambda: iter(["no-such-libopus.so", "libc.so.6"]))
    opus_library.load.cache_clear()
    said = []
    sink = logger.add(lambda message: said.append(message.record["message"]), level="WARNING")
    try:
        assert opus_library.load() is None
        assert opus_library.load() is None
    finally:
        logger.remove(sink)
        opus_library.load.cache_clear()
    assert said == ["libopus cannot be loaded: lost packets of a learner's voice are replaced by what came before"]


def test_it_is_the_one_that_pyav_brings():
    """In a process that has used nothing else of it."""
    code = "from pipeline.transports import opus_library; print(opus_library.load()._name)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert "av" in found.stdout
    assert "opus" in found.stdout
