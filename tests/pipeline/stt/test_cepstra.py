"""The front end, beside pocketsphinx's own."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from pocketsphinx import Decoder

from bench.narrowband import phoned
from pipeline.stt.cepstra import CEPSTRA, SHIFT, FrontEnd, cepstra
from tests.pipeline.stt.speech import COFFEE, MARKET, room_tone

Say = Callable[..., bytes]


def own_means(pcm: bytes) -> list[float]:
    """The means of the cepstra that pocketsphinx computes, of a whole utterance."""
    decoder = Decoder(loglevel="FATAL", lm=None)
    decoder.add_fsg("any", decoder.create_fsg("any", 0, 1, [(0, 1, 1.0, "yes")]))
    decoder.activate_search("any")
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    return [float(mean) for mean in decoder.get_cmn(False).split(",")]


@pytest.mark.parametrize("text", [MARKET, COFFEE])
def test_the_means_are_those_of_pocketsphinx(say: Say, text: str) -> None:
    pcm = say(text)
    assert cepstra(pcm).mean(axis=0).tolist() == pytest.approx(own_means(pcm), abs=1e-3)


def test_noise_is_removed_as_pocketsphinx_does() -> None:
    pcm = room_tone(0.7) + random.Random(5).randbytes(32_000) + room_tone(0.4)
    assert cepstra(pcm).mean(axis=0).tolist() == pytest.approx(own_means(pcm), abs=1e-3)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1, 1), (410, 1), (411, 2), (410 + 3 * SHIFT, 4)])
def test_the_number_of_frames(samples: int, frames: int) -> None:
    found = cepstra(bytes(2 * samples))
    assert found.shape == (frames, CEPSTRA)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_half_a_sample_is_left_out() -> None:
    pcm = room_tone(0.1)
    assert (cepstra(pcm + b"\x01") == cepstra(pcm)).all()


@pytest.mark.parametrize("piece", [2, 318, 640, 6_400, 6_400_000])
@pytest.mark.parametrize("samples", [1, 409, 410, 411, 570, 571, 8_000])
def test_in_pieces_it_is_what_it_is_at_once(samples: int, piece: int) -> None:
    pcm = random.Random(samples).randbytes(2 * samples)
    front_end = FrontEnd()
    parts = [front_end.process(pcm[at : at + piece]) for at in range(0, len(pcm), piece)]
    together = np.concatenate([*parts, front_end.finish()])
    assert together.shape == cepstra(pcm).shape
    assert together == pytest.approx(cepstra(pcm), abs=1e-4)


@pytest.mark.parametrize("text", [MARKET, COFFEE])
def test_of_a_telephone_they_come_nearer_to_what_was_said(say: Say, text: str) -> None:
    def shape(found: np.ndarray) -> np.ndarray:
        return found - found.mean(axis=0)

    said, heard = say(text), phoned(say(text))
    as_it_is, as_by_phone = (shape(cepstra(heard, narrow=narrow)) - shape(cepstra(said)) for narrow in (False, True))
    assert (as_by_phone**2).mean() < 0.85 * (as_it_is**2).mean()
