"""The tutor's voice as Opus packets, by libopus itself and by FFmpeg's adapter: the same sound, and silence made once."""

import numpy as np
import pytest

from pipeline.transports import opus_library
from pipeline.transports.opus import ENCODER_FRAME_SAMPLES, Encoder, PacketEncoder

RATES = (96_000, 32_000)


@pytest.fixture(params=["library", "ffmpeg"])
def make(request):
    def encoder(bitrate_bps: int) -> PacketEncoder:
        if request.param == "ffmpeg":
            return Encoder(bitrate_bps, 5)
        library = opus_library.load()
        assert library is not None
        return opus_library.LibraryEncoder(library, bitrate_bps, 5)

    return encoder


@pytest.fixture
def decoder():
    library = opus_library.load()
    assert library is not None
    return opus_library.LibraryDecoder(library)


def tone(packets: int) -> np.ndarray:
    """1 kHz at 24 kHz, int16 of shape (packets, 480)."""
    t = np.arange(packets * ENCODER_FRAME_SAMPLES) / 24_000
    return (8_000 * np.sin(2 * np.pi * 1_000 * t)).astype(np.int16).reshape(packets, -1)


def level_db(pcm: np.ndarray) -> float:
    """Level of the 1 kHz component at 16 kHz, in dB over amplitude 8,000."""
    t = np.arange(len(pcm)) / 16_000
    amplitude = 2 * abs(np.mean(pcm.astype(np.float64) * np.exp(-2j * np.pi * 1_000 * t)))
    return float(20 * np.log10(amplitude / 8_000 + 1e-9))


@pytest.mark.parametrize("bitrate_bps", RATES)
def test_a_tone_comes_back_at_its_level(make, decoder, bitrate_bps):
    encoder = make(bitrate_bps)
    pcm = np.concatenate([decoder.decode(encoder.encode(frame)) for frame in tone(50)])
    assert abs(level_db(pcm[8_000:])) < 1.0


@pytest.mark.parametrize("bitrate_bps", RATES)
def test_bits_follow_the_rate_that_was_asked_for(make, bitrate_bps):
    encoder = make(bitrate_bps)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 3_000, (100, ENCODER_FRAME_SAMPLES)).astype(np.int16)
    sent = sum(len(encoder.encode(frame)) for frame in noise) * 8 / 2.0
    assert 0.7 * bitrate_bps < sent < 1.3 * bitrate_bps


def test_lasting_silence_is_one_packet_that_stays_silent_and_leaves_what_follows_as_it_was(make, decoder):
    encoder = make(96_000)
    for frame in tone(50):
        decoder.decode(encoder.encode(frame))
    packets = [encoder.encode_silence() for _ in range(200)]
    assert len(set(packets[50:])) == 1
    silence = [decoder.decode(packet) for packet in packets]
    assert max(int(np.abs(pcm).max()) for pcm in silence[50:]) <= 1
    pcm = np.concatenate([decoder.decode(encoder.encode(frame)) for frame in tone(50)])
    assert abs(level_db(pcm[1_600:])) < 1.0


def test_after_a_sound_silence_is_encoded_anew(make):
    encoder = make(96_000)
    at_rest = [encoder.encode_silence() for _ in range(60)][-1]
    encoder.encode(tone(1)[0])
    # What comes first carries the end of the sound.
    assert encoder.encode_silence() != at_rest
