"""Whether the engines that are started here fit onto the card together, and what to change where they do not. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.engine_manager.estimates import Language, Speech


@dataclass(frozen=True, slots=True)
class Need:
    """What one engine takes of the card: ``gb`` is stated by the operator, ``share`` is of the card, and where both are
    ``None``, ``speech`` tells it for ``slots``."""

    name: str
    card: int
    gb: float | None = None
    share: float | None = None
    speech: Speech | None = None
    slots: int | None = None
    language: Language | None = None
    max_model_len: int | None = None

    @property
    def estimated_gb(self) -> float | None:
        """What its slots need, where that is known."""
        return self.speech.total_gb(self.slots) if self.speech is not None and self.slots is not None else None

    def takes_gb(self, card_gb: float) -> float | None:
        """What it takes of a card of that size; ``None`` where nobody knows."""
        if self.share is not None:
            return self.share * card_gb
        return self.gb if self.gb is not None else self.estimated_gb

    def words(self, card_gb: float) -> str:
        """``stt 6.1 (32 slots)``."""
        why = (
            f"{self.slots} slots" if self.slots is not None else f"share {self.share:g}" if self.share is not None else "gpu_gb"
        )
        return f"{self.name} {self.takes_gb(card_gb) or 0:.1f} ({why})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it fits: the sum in words, what is wrong with it, and what may be worth knowing."""

    summary: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def fit(needs: Sequence[Need], card_gb: float, *, reserve_gb: float, card_name: str, used_gb: float = 0.0) -> Verdict:
    """Add up ``needs`` on one card of ``card_gb``, of which ``reserve_gb`` stay free. ``used_gb`` is in use already."""
    problems: list[str] = []
    notes: list[str] = []
    for need in needs:
        takes = need.takes_gb(card_gb)
        if takes is None:
            notes.append(f"{need.name}: nobody knows what it needs; say it as engines.{need.name}.gpu_gb")
            continue
        if need.gb is not None and (least := need.estimated_gb) is not None and least > need.gb:
            problems.append(
                f"{need.name}: {need.slots} slots need {least:.1f} GB, more than engines.{need.name}.gpu_gb ({need.gb:g}): "
                f"raise it, or lower engines.{need.name}.values.slots to {need.speech.slots_in(need.gb) if need.speech else 0}"
            )
        if need.language is not None and need.max_model_len is not None:
            least = need.language.least_gb(need.max_model_len)
            if least > takes:
                problems.append(
                    f"{need.name}: a context of {need.max_model_len} tokens needs {least:.1f} GB, more than the {takes:.1f} GB "
                    f"of its share: raise engines.{need.name}.gpu_share to {_up(least / card_gb)}, or lower "
                    f"engines.{need.name}.values.max_model_len"
                )
    total = sum(need.takes_gb(card_gb) or 0.0 for need in needs)
    room = card_gb - reserve_gb
    parts = " + ".join(need.words(card_gb) for need in needs)
    summary = f"{parts} = {total:.1f} of {room:.1f} GB ({card_name}: {card_gb:.1f}, reserve {reserve_gb:g})"
    if total > room + 0.005:
        over = total - room
        advice = [text for need in needs if (text := _less(need, over, card_gb))]
        problems.append(
            f"{total - room:.1f} GB too much: {summary}; "
            + (" or ".join(advice) if advice else "take smaller models, or another card for one engine (launch.gpu)")
        )
    elif used_gb > reserve_gb and total > card_gb - used_gb:
        notes.append(f"other programs hold {used_gb:.1f} GB of {card_name} now: end them first (nvidia-smi names them)")
    return Verdict(summary, tuple(problems), tuple(notes))


def _less(need: Need, over_gb: float, card_gb: float) -> str | None:
    """What to lower so that this engine takes ``over_gb`` less, where it can."""
    takes = need.takes_gb(card_gb)
    if takes is None:
        return None
    left = takes - over_gb
    if need.speech is not None and need.slots is not None and need.gb is None:
        slots = need.speech.slots_in(left)
        return f"lower engines.{need.name}.values.slots to {slots}" if slots >= 1 else None
    if need.share is not None:
        least = need.language.least_gb(need.max_model_len) if need.language and need.max_model_len else 0.0
        share = int(left / card_gb * 100) / 100
        return f"lower engines.{need.name}.gpu_share to {share:g}" if share > 0 and share * card_gb >= least else None
    return None


def _up(share: float) -> str:
    return f"{int(share * 100 + 0.999) / 100:g}"
