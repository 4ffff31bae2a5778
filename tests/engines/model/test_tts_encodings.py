"""The Opus formats of text to speech, decoded again."""

from __future__ import annotations

import numpy as np
import pytest
import sphn

from engines.kyutai.front.encodings import RATE_HZ, encoding
from engines.wire.kyutai import OggOpus, unpack

FRAME = 1920
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(25 * FRAME) / RATE_HZ)).astype(np.float32)


def pages(name: str) -> list[bytes]:
    """A tone of 2 s in this format: the header, then a message for each frame."""
    how = encoding(name)
    sent = [how.header(), *(how.audio(TONE[k : k + FRAME]) for k in range(0, len(TONE), FRAME))]
    assert None not in sent
    return [unpack(one, OggOpus).data if how.structured else one for one in sent]


@pytest.mark.parametrize("name", ["OggOpus", "OggOpusMessagePack"])
def test_opus_comes_out_as_it_went_in(name):
    sent = pages(name)
    reader = sphn.OpusStreamReader(RATE_HZ)
    heard = np.concatenate([reader.append_bytes(one) for one in sent])
    assert abs(len(heard) - len(TONE)) <= FRAME
    inside = heard[FRAME : len(TONE) - FRAME]
    spectrum = np.abs(np.fft.rfft(inside * np.hanning(len(inside))))
    assert np.fft.rfftfreq(len(inside), 1 / RATE_HZ)[spectrum.argmax()] == pytest.approx(440, abs=1)
    assert np.sqrt((inside**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_the_header_comes_once_and_first():
    sent = pages("OggOpus")
    assert b"OpusHead" in sent[0]
    assert b"OpusTags" in sent[0]
    assert not any(b"OpusHead" in one or b"OpusTags" in one for one in sent[1:])
    whole, rate_hz = sphn.read_opus_bytes(b"".join(sent))
    assert rate_hz == 48_000
    assert whole.shape == (1, 2 * len(TONE))


def test_two_streams_do_not_share_a_state():
    both = encoding("OggOpus"), encoding("OggOpus")
    mixed = [[how.header()] for how in both]
    for k in range(0, len(TONE), FRAME):
        mixed[0].append(both[0].audio(TONE[k : k + FRAME]))
        mixed[1].append(both[1].audio(np.zeros(FRAME, np.float32)))
    assert mixed[0] == pages("OggOpus")
