"""Moshi's own speech to text, one file at a time, beside sounds to try it with: what our batched model is compared to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from moshi.models import LMGen
from moshi.utils.compile import no_compile
from numpy.typing import NDArray

from engines.kyutai.model.checkpoint import SttParts
from engines.kyutai.model.interface import FRAME_SAMPLES, SAMPLE_RATE_HZ, Floats


def sound(seed: int, frames: int) -> Floats:
    """Another loudness, tone and noise in each frame: ``[frames, 1920]``."""
    noise = np.random.default_rng(seed)
    seconds = np.arange(FRAME_SAMPLES) / SAMPLE_RATE_HZ
    loud, pitch_hz = noise.uniform(0, 0.8, (frames, 1)), noise.uniform(80, 2000, (frames, 1))
    tones = loud * np.sin(2 * np.pi * pitch_hz * seconds)
    return (tones + noise.uniform(0, 0.2, (frames, 1)) * noise.standard_normal(tones.shape)).astype(np.float32)


class MoshiStt:
    """``parts``: a model that nobody else steps."""

    def __init__(self, parts: SttParts) -> None:
        self.parts = parts
        self._gen = LMGen(parts.lm, temp=0.0, temp_text=0.0)

    @torch.no_grad()
    def hears(self, frames: Sequence[Floats] | Floats) -> tuple[list[int], NDArray[np.float64]]:
        """The loop of ``moshi.run_inference`` over ``[frames, 1920]``: of each frame its token, and of each pause head the
        probability ``[frames, heads]``. Silence that the model wants first is put before and not told."""
        silence = [np.zeros(FRAME_SAMPLES, np.float32)] * self.parts.prefix
        tokens: list[int] = []
        pauses: list[list[float]] = []
        with no_compile(), self.parts.mimi.streaming(1), self._gen.streaming(1):
            for number, frame in enumerate([*silence, *frames]):
                codes = self.parts.mimi.encode(torch.from_numpy(frame)[None, None])
                if number == 0:
                    self._gen.step(codes)
                out: Any = self._gen.step_with_extra_heads(codes)
                tokens.append(int(out[0][0, 0, 0]))
                pauses.append([float(head[0, 0, 0]) for head in out[1]])
        return tokens[self.parts.prefix :], np.array(pauses[self.parts.prefix :])
