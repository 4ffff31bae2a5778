"""The acoustic model as read from the wheel, beside the scores that pocketsphinx itself writes down."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pocketsphinx
import pytest
from pocketsphinx import Decoder

from pipeline.stt.acoustic_model import SILENCE, STATES, AcousticModel
from pipeline.stt.cepstra import cepstra
from tests.pipeline.stt.speech import COFFEE

FOLDER = Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    return AcousticModel()


def own_scores(pcm: bytes, folder: Path) -> np.ndarray:
    """Log likelihoods of all senones, less that of the likeliest of each frame, as pocketsphinx logs them."""
    decoder = Decoder(loglevel="FATAL", lm=None, compallsen=True, senlogdir=str(folder))
    decoder.add_fsg("any", decoder.create_fsg("any", 0, 1, [(0, 1, 1.0, "yes")]))
    decoder.activate_search("any")
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
    (log,) = folder.glob("*.sen")
    raw = log.read_bytes()
    numbers = np.frombuffer(raw, "<i2", offset=raw.index(b"endhdr\n") + 11)
    senones = int(numbers[0])
    costs = numbers[: len(numbers) // (senones + 1) * (senones + 1)].reshape(-1, senones + 1)[:, 1:]
    return -costs.astype(np.float64) * 1024 * np.log(1.0001)


def test_the_scores_are_those_of_pocketsphinx_without_its_shortcuts(
    model: AcousticModel, say: Callable[..., bytes], tmp_path: Path
) -> None:
    pcm = say(COFFEE)
    theirs = own_scores(pcm, tmp_path)
    ours = model.scores(cepstra(pcm), range(theirs.shape[1]))[: len(theirs)].astype(np.float64)
    ours -= ours.max(axis=1, keepdims=True)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.7


def test_some_senones_score_as_among_all(model: AcousticModel, say: Callable[..., bytes]) -> None:
    heard = cepstra(say("yes"))
    some = [5000, 3, 1700]
    assert model.scores(heard, some) == pytest.approx(model.scores(heard, range(5126))[:, some], rel=1e-4)


def test_a_phone_has_senones_of_its_context_and_transitions(model: AcousticModel) -> None:
    in_context, transitions = model.phone("AE", "K", "T", "inside")
    alone, _ = model.phone("AE", "+NSN+", "+NSN+", "inside")  # never met
    assert len(in_context) == len(alone) == STATES
    assert in_context != alone
    assert transitions.shape == (STATES, STATES + 1)
    assert np.exp(transitions).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert model.phone("AE", "K", "T", "first")[0] != ()


def test_a_phone_that_was_not_met_in_its_place_is_taken_from_another(model: AcousticModel) -> None:
    known = {place: model.phone("ZH", "AA", "AA", place)[0] for place in ("inside", "first", "last", "only")}
    assert all(len(senones) == STATES for senones in known.values())


def test_unknown_phones(model: AcousticModel) -> None:
    assert SILENCE not in model.phone_set
    assert {"AA", "ZH"} <= model.phone_set
    with pytest.raises(KeyError):
        model.phone("QX", SILENCE, SILENCE, "only")


@pytest.mark.parametrize("name", ["mdef", "means", "sendump"])
def test_a_file_in_another_format(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(FOLDER, folder)
    (folder / name).write_bytes(b"something else" * 10)
    with pytest.raises(ValueError, match="acoustic model"):
        AcousticModel(folder)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AcousticModel(tmp_path)
