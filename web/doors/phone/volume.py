"""How loud a telephone is. Pure."""

from __future__ import annotations

import numpy as np


class Volume:
    """Amplifies pcm16 in steps, with a limiter, so that nothing is clipped.

    The limiter turns down at once where a sample would go over full scale and recovers with a time constant of 100 ms.
    """

    STEP_DB = 4.0
    MAX_DB = 12.0
    CEILING = 30_000.0

    def __init__(self, rate_hz: int) -> None:
        self.gain_db = 0.0
        self._rate_hz = rate_hz
        self._reduction = 1.0

    def louder(self) -> bool:
        """One step more. False: it was at its loudest."""
        before, self.gain_db = self.gain_db, min(self.MAX_DB, self.gain_db + self.STEP_DB)
        return self.gain_db > before

    def apply(self, pcm16: bytes) -> bytes:
        """The audio at the volume that was chosen, the same number of samples."""
        if self.gain_db == 0.0 or not pcm16:
            return pcm16
        samples = np.frombuffer(pcm16, np.int16).astype(np.float32) * 10 ** (self.gain_db / 20)
        peak = float(np.max(np.abs(samples)))
        wanted = min(1.0, self.CEILING / peak) if peak else 1.0
        recovered = 1.0 - (1.0 - self._reduction) * float(np.exp(-len(samples) / self._rate_hz / 0.1))
        before, self._reduction = self._reduction, min(wanted, recovered)
        # Down at once, since a peak cannot wait; up in a ramp, since a step would click.
        ramp: np.ndarray | float = self._reduction
        if before < self._reduction:
            ramp = np.linspace(before, self._reduction, len(samples), dtype=np.float32)
        return np.clip(samples * ramp, -32768, 32767).astype(np.int16).tobytes()
