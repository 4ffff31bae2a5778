"""What the settings' engines take of this machine's cards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.engine_manager.budget import Need, Verdict, fit
from pipeline.engine_manager.cards import Card
from pipeline.engine_manager.estimates import language, speech
from pipeline.engine_manager.launch import own_values, used
from pipeline.settings.processes import EngineSettings
from pipeline.settings.tree import Settings


def needs_of(settings: Settings) -> list[Need]:
    """What each engine takes that is started here and computes on a card.

    Raises:
        SettingsError: an engine's own file cannot be read.
    """
    found = []
    for name, engine in used(settings).items():
        if engine.launch is None:
            continue
        own = own_values(name, engine)
        model = engine.model or str(own.get("model", ""))
        on_card = engine.gpu_gb is not None or engine.gpu_share is not None or str(own.get("device", "")).startswith("cuda")
        if on_card:
            found.append(_need(name, engine, own, model))
    return found


def _need(name: str, engine: EngineSettings, own: dict[str, Any], model: str) -> Need:
    assert engine.launch is not None
    known = speech(model)
    slots, length = own.get("slots"), own.get("max_model_len")
    device = str(own.get("device", ""))
    card = engine.launch.gpu
    if card is None:
        card = int(device.partition(":")[2]) if device.partition(":")[2].isdigit() else 0
    return Need(
        name,
        card,
        gb=engine.gpu_gb,
        share=engine.gpu_share,
        speech=known if isinstance(slots, int) else None,
        slots=slots if known is not None and isinstance(slots, int) else None,
        language=language(model),
        max_model_len=length if isinstance(length, int) else None,
    )


def verdicts(settings: Settings, cards: Sequence[Card]) -> list[Verdict]:
    """How the engines fit, card by card. Without a card the size comes from ``gpu.memory_gb``.

    Raises:
        SettingsError: an engine's own file cannot be read.
    """
    needs = needs_of(settings)
    result = []
    for index in sorted({need.card for need in needs}):
        mine = [need for need in needs if need.card == index]
        card = next((card for card in cards if card.index == index), None)
        size = (card.total_gb if card is not None else None) or settings.gpu.memory_gb
        names = ", ".join(need.name for need in mine)
        if cards and card is None:
            found = ", ".join(str(c.index) for c in cards)
            result.append(Verdict(names, (f"{names}: there is no card {index}; there are: {found} (launch.gpu)",)))
        elif size is None:
            result.append(
                Verdict(names, (), (f"{names}: no card was found, and gpu.memory_gb does not say how large it will be",))
            )
        else:
            called = f"card {index}, {card.name}" if card is not None else "a card of gpu.memory_gb"
            used_gb = card.used_gb if card is not None else 0.0
            result.append(fit(mine, size, reserve_gb=settings.gpu.reserve_gb, card_name=called, used_gb=used_gb))
    return result
