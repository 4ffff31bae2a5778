"""What a network does to the packets of one direction: lost, late, out of order; the same at every run. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Impairment:
    """A network that is worse than a wire. The default is a wire.

    Attributes:
        loss: Share of the packets that never arrive, each by its own draw.
        jitter_s: Each packet is late by its own draw from 0 to so many seconds, evenly.
        reorder: Share of the packets that are held back for ``hold_s``, so that later ones overtake them.
        hold_s: Two packets of 20 ms and a little.
    """

    loss: float = 0.0
    jitter_s: float = 0.0
    reorder: float = 0.0
    hold_s: float = 0.045

    @property
    def mean_delay_s(self) -> float:
        """What it adds to a packet's way on average, whatever the receiver does."""
        return self.jitter_s / 2 + self.reorder * self.hold_s


class Fates:
    """One packet's fate after the other.

    Args:
        impairment: Of this direction.
        seed: Of all draws; a string is as good as a number, and the same in every process.
    """

    def __init__(self, impairment: Impairment, seed: int | str = 1) -> None:
        self.impairment = impairment
        """May be replaced: a network gets better, or worse."""
        self._random = random.Random(seed)

    def next(self) -> float | None:
        """Seconds by which the next packet is late; ``None``: it is lost."""
        impairment = self.impairment
        if self._random.random() < impairment.loss:
            return None
        late_s = self._random.uniform(0, impairment.jitter_s)
        if impairment.reorder and self._random.random() < impairment.reorder:
            late_s += impairment.hold_s
        return late_s
