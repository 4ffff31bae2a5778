"""The batched speech to text against moshi's own loop, on tiny checkpoints in the real file format."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from engines.kyutai.model.checkpoint import load_stt, open_checkpoint
from engines.kyutai.model.interface import FRAME_SAMPLES, Floats, SttModel, SttOutput
from engines.kyutai.model.stt import BatchedStt
from engines.kyutai.schedule.buckets import Batch, Buckets
from tests.engines.moshi_stt import MoshiStt, sound
from tests.engines.tiny_stt import write_tiny_stt
from tests.engines.tiny_tts import write_tiny_tts

SIZES = (1, 2, 4, 8)
SHAPES = {
    "as the 1B": {},
    "without pause heads": {"heads": 0, "seed": 1},
    "with silence first, as the 2.6B": {"heads": 0, "prefix_s": 0.2, "delay_s": 0.3, "seed": 2},
    "with more silence than it remembers": {"prefix_s": 1.2, "seed": 3},
}


class Logged(BatchedStt):
    """Keeps the logits of the last step, ``[bucket, vocabulary]``."""

    logits: Tensor

    def _choose(self, logits: Tensor) -> Tensor:
        self.logits = logits.clone()
        return super()._choose(logits)

    def states(self) -> list[Tensor]:
        """All that it holds of all slots."""
        return [self._numbers, self._mimi.previous, self._ring.ring, self._mimi.transformer.ring]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_stt(tmp_path_factory.mktemp("stt"))


@pytest.fixture
def model(tiny: Path) -> Logged:
    return Logged(load_stt(tiny), Buckets(SIZES))


def step(model: SttModel, slots: Sequence[int], frames: Sequence[Floats], *, batch: Batch | None = None) -> SttOutput:
    """One frame for each slot; rows that do not step get garbage."""
    batch = batch or model.buckets.batch(slots)
    pcm = np.full((batch.bucket, FRAME_SAMPLES), 0.3, np.float32)
    for slot, frame in zip(slots, frames, strict=True):
        pcm[batch.rows.index(slot)] = frame
    return model.step(batch, pcm)


def varied(tokens: Sequence[int]) -> bool:
    """Whether a comparison of these tokens says anything: many kinds, and none that is nearly all of them."""
    kinds = Counter(tokens)
    return len(kinds) >= 12 and kinds.most_common(1)[0][1] < len(tokens) / 2


@pytest.mark.parametrize("shape", SHAPES)
def test_it_writes_what_moshis_own_loop_writes(tmp_path: Path, shape: str) -> None:
    write_tiny_stt(tmp_path, **SHAPES[shape])  # type: ignore[arg-type]
    model, frames = BatchedStt(load_stt(tmp_path), Buckets([1])), sound(7, 60)
    tokens, pauses = MoshiStt(load_stt(tmp_path)).hears(frames)
    told = [step(model, [0], [frame]) for frame in frames]
    assert [int(one.tokens[0]) for one in told] == tokens
    np.testing.assert_allclose(np.concatenate([one.pauses for one in told]), pauses.reshape(60, model.heads), atol=1e-5)
    assert varied(tokens)
    assert model.heads == 0 or np.ptp(pauses, axis=0).min() > 0.1, "the pause heads say the same all the time"


def test_it_rounds_as_moshi_does_in_the_type_of_a_gpu(tiny: Path) -> None:
    frames = sound(3, 60)
    tokens, _ = MoshiStt(load_stt(tiny, dtype=torch.bfloat16)).hears(frames)
    model = BatchedStt(load_stt(tiny, dtype=torch.bfloat16), Buckets([1]))
    same = sum(step(model, [0], [frame]).tokens[0] == token for frame, token in zip(frames, tokens, strict=True))
    assert varied(tokens)
    assert same >= 55, "more than a rounding here and there"


def test_slots_that_are_reset_are_new_and_others_go_on(tiny: Path, model: Logged) -> None:
    oracle = MoshiStt(load_stt(tiny))
    frames = [sound(seed, 30) for seed in range(3)]
    expected = [oracle.hears(one)[0] for one in frames]
    for at in range(17):
        told = step(model, [5, 2], [frames[0][at], frames[1][at]])
        assert told.tokens.tolist() == [expected[0][at], expected[1][at]]
    model.reset([5])
    assert step(model, [2], [frames[1][17]]).tokens.tolist() == [expected[1][17]]
    for at in range(12):
        told = step(model, [2, 5], [frames[1][18 + at], frames[2][at]])
        assert told.tokens.tolist() == [expected[1][18 + at], expected[2][at]]


@torch.no_grad()
def test_buckets_and_gathered_rows_change_nothing(tiny: Path, model: Logged) -> None:
    # The same sound in one slot of each bucket, in the lowest rows and in gathered ones, with and without company.
    frames, other = sound(3, 40), sound(4, 40)
    alone = Logged(load_stt(tiny), Buckets([1]))
    batches = {
        0: Batch((0,), (0,)),
        3: Batch((3, 1), (0, 1, 2, 3)),
        6: Batch((6,), (2, 6)),
        7: Batch((7, 4), (4, 7)),
    }
    tokens = []
    for at, frame in enumerate(frames):
        token = int(step(alone, [0], [frame]).tokens[0])
        for slot, batch in batches.items():
            company = [frame, *(other[at] for _ in batch.slots[1:])]
            assert step(model, batch.slots, company, batch=batch).tokens[0] == token
            logits = model.logits[batch.rows.index(slot)]
            torch.testing.assert_close(logits, alone.logits[0], rtol=1e-4, atol=1e-4)
        tokens.append(token)
    assert varied(tokens)


@pytest.mark.parametrize("heard", [0, 3, 11, 12, 13, 30, 47])
def test_a_flush_that_is_withdrawn_leaves_every_bit_as_it_was(tiny: Path, model: Logged, heard: int) -> None:
    # The ring of the language model holds 12 entries and Mimi's 20, two a frame: they wrap at 12 and 10 frames.
    never, frames, silence = Logged(load_stt(tiny), Buckets(SIZES)), sound(heard, 60), np.zeros(FRAME_SAMPLES, np.float32)
    for at in range(heard):
        for one in (model, never):
            step(one, [0, 1], [frames[at], frames[at + 1]])
    model.save([0, 1])
    for _ in range(model.delay + 1):
        step(model, [0, 1], [silence, silence])
    model.restore([0, 1])
    for ours, theirs in zip(model.states(), never.states(), strict=True):
        assert torch.equal(ours, theirs)
    for at in range(heard, heard + 5):
        for one in (model, never):
            step(one, [0, 1], [frames[at], frames[at + 1]])
        assert torch.equal(model.logits, never.logits)


@pytest.mark.parametrize("heard", [0, 9, 12, 25])
@pytest.mark.parametrize("live", [0, 1, 2, 3])
def test_a_flush_goes_on_after_live_steps_and_so_do_they(tiny: Path, model: Logged, heard: int, live: int) -> None:
    # One step of the flush, live steps, and the rest of it: both write what they would have written alone.
    # Between all of them stand steps that its slot is in without making them: they write to its rings too.
    oracle, frames, silence = MoshiStt(load_stt(tiny)), sound(50 + heard, 60), np.zeros(FRAME_SAMPLES, np.float32)
    idle = Batch((1,), (0, 1))
    rest = frames[heard] * (np.arange(FRAME_SAMPLES) < 700)
    ahead = oracle.hears([*frames[:heard], rest, silence, silence])[0][heard:]
    expected = oracle.hears(frames[: heard + live + 14])[0]
    for at in range(heard):
        step(model, [0], [frames[at]])
    model.save([0])
    assert step(model, [0, 1], [rest, silence]).tokens[0] == ahead[0]
    step(model, [1], [silence], batch=idle)
    model.keep([0])
    model.restore([0])
    for at in range(heard, heard + live):
        assert step(model, [0], [frames[at]]).tokens[0] == expected[at]
        step(model, [1], [silence], batch=idle)
    model.save([0])
    model.load([0])
    assert [step(model, [0], [silence]).tokens[0] for _ in range(2)] == ahead[1:]
    step(model, [1], [silence], batch=idle)
    model.restore([0])
    for at in range(heard + live, heard + live + 14):
        assert step(model, [0], [frames[at]]).tokens[0] == expected[at]


def test_some_of_what_was_saved_together_can_be_put_back(tiny: Path, model: Logged) -> None:
    oracle, frames = MoshiStt(load_stt(tiny)), [sound(60 + slot, 30) for slot in range(3)]
    expected = [oracle.hears(one)[0] for one in frames]
    for at in range(14):
        step(model, [0, 1, 2], [one[at] for one in frames])
    model.save([0, 1, 2])
    step(model, [0, 2], [frames[1][3], frames[1][4]])
    model.restore([2, 0])
    for at in range(14, 30):
        told = step(model, [0, 1, 2], [one[at] for one in frames])
        assert told.tokens.tolist() == [one[at] for one in expected]


def test_what_is_not_kept_cannot_be_put_back(model: Logged) -> None:
    frame = np.zeros(FRAME_SAMPLES, np.float32)
    with pytest.raises(ValueError, match="slot 3 was not saved"):
        model.restore([3])
    with pytest.raises(ValueError, match="slot 3 was not saved"):
        model.keep([3])
    model.save([3])
    with pytest.raises(ValueError, match="slot 3 has no branch"):
        model.load([3])
    model.keep([3])
    for _ in range(model.delay + 2):
        step(model, [3], [frame])
    with pytest.raises(ValueError, match="more than 3 steps"):
        model.restore([3])
    model.reset([3])
    with pytest.raises(ValueError, match="not saved"):
        model.restore([3])
    with pytest.raises(ValueError, match="rows of"):
        model.step(Batch((0,), (0, 1, 2)), np.zeros((3, FRAME_SAMPLES), np.float32))
    with pytest.raises(ValueError, match="rows of"):
        model.step(Batch((0,), (0,)), np.zeros((1, FRAME_SAMPLES - 1), np.float32))


def test_sound_that_is_no_sound_harms_nobody_else_nor_the_next_in_its_slot(tiny: Path, model: Logged) -> None:
    frames, bad = sound(9, 24), np.full(FRAME_SAMPLES, np.nan, np.float32)
    expected = MoshiStt(load_stt(tiny)).hears(frames)[0]
    bad[::3], bad[1::5] = np.inf, -3e38
    for at in range(12):
        told = step(model, [1, 0], [bad, frames[at]])
        assert told.tokens[1] == expected[at]
        assert np.isfinite(told.pauses).all()
    model.reset([1])
    assert [step(model, [1], [frame]).tokens[0] for frame in frames] == expected


def test_the_start_is_the_same_whatever_was_heard_before(model: Logged) -> None:
    assert model.delay == 2
    new = [one[0].clone() for one in model.states()[:2]]
    step(model, list(range(8)), list(sound(1, 8)))
    assert not torch.equal(model.states()[0][0], new[0])
    model.reset(range(8))
    for ours, was in zip(model.states()[:2], new, strict=True):
        assert torch.equal(ours, was.expand_as(ours))


def test_seconds_of_the_config_become_frames_as_in_kyutais_scripts(tmp_path: Path) -> None:
    first = load_stt(write_tiny_stt(tmp_path / "1b", delay_s=0.5))
    second = load_stt(write_tiny_stt(tmp_path / "2.6b", delay_s=2.5, prefix_s=1.0))
    assert (first.delay, first.prefix) == (7, 0)
    assert (second.delay, second.prefix) == (32, 13)


def test_a_checkpoint_that_is_none_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        open_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        open_checkpoint(folder)
    write_tiny_stt(folder)
    (folder / "mimi.safetensors").unlink()
    with pytest.raises(ValueError, match=r"names mimi\.safetensors, which is not there"):
        load_stt(folder)
    with pytest.raises(ValueError, match="is no speech-to-text model"):
        load_stt(write_tiny_tts(tmp_path / "tts"))


def test_the_tiny_checkpoint_is_written_by_its_script_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.engines.tiny_stt", str(tmp_path / "tiny")], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(tmp_path / "tiny")
    assert load_stt(tmp_path / "tiny").tokenizer.get_piece_size() == 64
