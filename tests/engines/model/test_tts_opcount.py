"""How many operations a step takes at the depth of the 1.6B (16 layers, 4 of the depth transformer, 32 codebooks), whose widths
do not matter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.kyutai.model.tts import BatchedTts
from engines.kyutai.model.tts_checkpoint import load_tts
from engines.kyutai.model.tts_opcount import TtsOps, captured_ops, moshi_tts_ops, tts_ops
from engines.kyutai.model.voices import voice_names
from engines.kyutai.schedule.buckets import Buckets
from tests.engines.tiny_tts import write_tiny_tts

SLOTS = 4
WORD = [5, 6]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> Path:
    return write_tiny_tts(tmp_path_factory.mktemp("deep"), codebooks=32, layers=16, depth_layers=4, mimi_layers=8)


def batched(folder: Path, n_q: int) -> BatchedTts:
    parts = load_tts(folder)
    voices = voice_names(folder / "voices", parts.voice_suffix)
    return BatchedTts(parts, Buckets([SLOTS]), voices=voices, default_voice="ada.wav", n_q=n_q)


def ours(folder: Path, n_q: int) -> TtsOps:
    return tts_ops(batched(folder, n_q), WORD)


def test_a_step_and_an_admission_take_far_fewer_operations_than_moshis(deep):
    made = ours(deep, 32)
    theirs = moshi_tts_ops(deep, "voices/ada.wav", slots=SLOTS, n_q=32, cfg_coef=2.0)
    for name, one, other in (
        ("text only", made.text, theirs.text),
        ("with audio", made.step, theirs.step),
        ("admission", made.admission, theirs.admission),
    ):
        print(f"{name}: {one.total} operations, {one.launches} launches; moshi {other.total}, {other.launches}")
    assert made.admission.total <= 40
    assert made.admission.total < theirs.admission.total / 20
    assert made.step.launches < theirs.step.launches / 2
    assert made.text.launches < theirs.text.launches / 2
    assert made.text.launches < made.step.launches / 4
    for one in (made.text, made.step, made.admission):
        assert one.waits == 0


def test_fewer_codebooks_are_fewer_operations_in_proportion(deep):
    few, some, all_of_them = (ours(deep, n_q).step.launches for n_q in (8, 16, 32))
    assert some - few == (all_of_them - some) / 2
    assert all_of_them - some > 16 * 50


def test_nothing_of_a_captured_step_comes_from_the_host(deep):
    # A tensor that is made of numbers of the host would be a copy that a graph cannot hold.
    calls = captured_ops(batched(deep, 32)).calls
    assert calls["_scaled_dot_product_flash_attention_for_cpu"] > 100
    assert not set(calls) & {"lift_fresh", "_local_scalar_dense", "_pin_memory", "nonzero", "_to_cpu"}
