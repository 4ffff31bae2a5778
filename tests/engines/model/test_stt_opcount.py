"""How many operations a step and an admission take, at the depth of the 1B: 16 layers, 32 codebooks, Mimi's own 8 layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.kyutai.model.checkpoint import SttParts, load_stt
from engines.kyutai.model.opcount import SttOps, count, moshi_stt_ops, stt_ops
from engines.kyutai.model.stt import BatchedStt
from engines.kyutai.schedule.buckets import Buckets
from tests.engines.tiny_stt import write_tiny_stt

SLOTS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_stt(tmp_path_factory.mktemp("deep"), layers=16, codebooks=32, mimi_layers=8, context=20)


@pytest.fixture(scope="module")
def parts(folder: Path) -> SttParts:
    return load_stt(folder)


@pytest.fixture(scope="module")
def ours(parts: SttParts) -> SttOps:
    return stt_ops(BatchedStt(parts, Buckets([SLOTS])))


def test_a_step_takes_a_third_of_moshis_launches_and_waits_for_none(folder: Path, parts: SttParts, ours: SttOps) -> None:
    layers = [len(part.layers) for part in (parts.lm.transformer, parts.mimi.encoder_transformer.transformer)]
    assert (layers, parts.lm.n_q) == ([16, 8], 32)
    moshi = moshi_stt_ops(load_stt(folder), SLOTS)
    print(f"step: {ours.step.total} of {moshi.step.total}, without views {ours.step.launches} of {moshi.step.launches}")
    print(f"admission: {ours.admission.total} of {moshi.admission.total}")
    assert ours.step.waits == 0
    assert ours.step.total <= moshi.step.total / 2
    assert ours.step.launches <= moshi.step.launches / 3
    assert ours.admission.total <= moshi.admission.total / 50


def test_an_admission_takes_at_most_forty_operations(ours: SttOps, tmp_path: Path) -> None:
    assert ours.admission.total <= 40
    assert ours.admission.waits == 0
    # A model that hears silence first has more to write, not more writes.
    slow = write_tiny_stt(tmp_path, layers=16, codebooks=32, mimi_layers=8, prefix_s=0.3, context=20)
    assert stt_ops(BatchedStt(load_stt(slow), Buckets([SLOTS]))).admission.total <= 40


def test_a_flush_of_all_slots_swaps_them_in_a_few_operations(ours: SttOps) -> None:
    assert ours.swap is not None
    assert ours.swap.total <= 60
    assert ours.swap.waits == 0


def test_operations_are_counted_views_apart_and_waits_known() -> None:
    x = torch.ones(3)
    seen = count(lambda: (x + x).view(3, 1).sum().item())
    assert seen.total == 4
    assert seen.calls == {"add": 1, "view": 1, "sum": 1, "_local_scalar_dense": 1}
    assert (seen.views, seen.launches, seen.waits) == (1, 3, 1)
