"""What fits onto a card: the arithmetic, what is said where it does not, and what nvidia-smi says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.engine_manager.budget import Need, fit
from pipeline.engine_manager.cards import Card, parse_cards, read_cards
from pipeline.engine_manager.estimates import language, speech
from pipeline.engine_manager.gpu import needs_of, verdicts
from pipeline.settings.load import load_settings

A4090 = Card(0, "NVIDIA GeForce RTX 4090", 24_564, 400, 0, 40)
STT, TTS, QWEN = speech("kyutai/stt-1b-en_fr"), speech("kyutai/tts-1.6b-en_fr"), language("Qwen/Qwen2.5-7B-Instruct-AWQ")


def settings(tmp_path: Path, stt: str = "", llm: str = "", extra: str = ""):
    (tmp_path / "stt.yaml").write_text("model: kyutai/stt-1b-en_fr\nslots: 32\ndevice: cuda\n")
    (tmp_path / "tts.yaml").write_text("model: kyutai/tts-1.6b-en_fr\nslots: 8\ndevice: cuda\n")
    file = tmp_path / "own.yaml"
    file.write_text(
        "stt: {engine: kyutai}\ntts: {engine: kyutai}\ngpu: {memory_gb: 24}\nengines:\n"
        f"  stt: {{url: 'http://127.0.0.1:0', launch: {{command: [x], config: {tmp_path}/stt.yaml}}{stt}}}\n"
        f"  tts: {{url: 'http://127.0.0.1:0', launch: {{command: [x], config: {tmp_path}/tts.yaml}}}}\n"
        "  brain: {url: 'http://127.0.0.1:0', model: Qwen/Qwen2.5-7B-Instruct-AWQ, gpu_share: 0.35, "
        f"values: {{max_model_len: 8192}}, launch: {{command: [x]}}{llm}}}\n{extra}"
    )
    return load_settings(file, env={}, dotenv=None)


def test_the_estimates_are_what_their_parts_add_up_to() -> None:
    assert STT is not None
    assert TTS is not None
    assert QWEN is not None
    assert STT.total_gb(32) == pytest.approx(2.0 + 1.0 + 32 * 0.098)
    assert 6 <= STT.total_gb(32) <= 8
    assert 4 <= TTS.total_gb(8) <= 5
    # 28 layers, 4 key-value heads of 128, key and value in two bytes: 57,344 bytes a token.
    assert QWEN.least_gb(8192) - QWEN.least_gb(0) == pytest.approx(8192 * 57_344 / 1e9)
    assert [STT.slots_in(STT.total_gb(n)) for n in (0, 1, 7, 32, 600)] == [0, 1, 7, 32, 600]
    assert STT.slots_in(1.0) == 0
    assert speech("somebody/else") is None


def test_the_budget_of_a_24_gb_card_fits(tmp_path: Path) -> None:
    (verdict,) = verdicts(settings(tmp_path), [A4090])
    assert verdict.problems == ()
    assert verdict.notes == ()
    assert verdict.summary == (
        "stt 6.1 (32 slots) + tts 4.9 (8 slots) + brain 9.0 (share 0.35) = 20.0 of 23.8 GB "
        "(card 0, NVIDIA GeForce RTX 4090: 25.8, reserve 2)"
    )
    (assumed,) = verdicts(settings(tmp_path), [])
    assert assumed.summary.endswith("= 19.4 of 22.0 GB (a card of gpu.memory_gb: 24.0, reserve 2)")


def test_too_much_is_refused_with_what_to_change_and_the_change_fits(tmp_path: Path) -> None:
    (verdict,) = verdicts(settings(tmp_path, ", values: {slots: 100}"), [A4090])
    (problem,) = verdict.problems
    assert problem.startswith("2.9 GB too much: stt 12.8 (100 slots) + ")
    assert "lower engines.stt.values.slots to 69" in problem
    (again,) = verdicts(settings(tmp_path, ", values: {slots: 69}"), [A4090])
    assert again.problems == ()
    (more,) = verdicts(settings(tmp_path, ", values: {slots: 70}"), [A4090])
    assert more.problems, "the advice is the most that fits"


def test_a_share_too_small_for_its_model_is_told(tmp_path: Path) -> None:
    (verdict,) = verdicts(settings(tmp_path), [Card(0, "small", 16_384, 0, 0, 0)])
    assert any(
        p.startswith("brain: a context of 8192 tokens needs 7.6 GB, more than the 6.0 GB of its share")
        for p in verdict.problems
    )
    assert any("raise engines.brain.gpu_share to 0.45" in p for p in verdict.problems)


def test_slots_that_do_not_fit_into_what_the_operator_states_are_told(tmp_path: Path) -> None:
    (verdict,) = verdicts(settings(tmp_path, ", gpu_gb: 5"), [A4090])
    assert verdict.problems == (
        "stt: 32 slots need 6.1 GB, more than engines.stt.gpu_gb (5): raise it, or lower engines.stt.values.slots to 20",
    )


def test_two_cards_are_added_up_each_for_itself(tmp_path: Path) -> None:
    both = [A4090, Card(1, "other", 24_564, 0, 0, 40)]
    second = settings(tmp_path).model_copy(deep=True)
    second.engines["stt"].launch.gpu = 1
    assert [v.summary.split("(")[-1].split(",")[0] for v in verdicts(second, both)] == ["card 0", "card 1"]
    assert verdicts(second, both)[1].summary.startswith("stt 6.1")
    second.engines["stt"].launch.gpu = 2
    assert verdicts(second, both)[1].problems == ("stt: there is no card 2; there are: 0, 1 (launch.gpu)",)


def test_what_others_hold_is_a_note(tmp_path: Path) -> None:
    (verdict,) = verdicts(settings(tmp_path), [Card(0, "busy", 24_564, 20_000, 0, 0)])
    assert verdict.problems == ()
    assert verdict.notes == ("other programs hold 21.0 GB of card 0, busy now: end them first (nvidia-smi names them)",)


def test_an_engine_on_the_cpu_or_run_by_somebody_else_takes_nothing(tmp_path: Path) -> None:
    chosen = settings(tmp_path, ", values: {device: cpu}")
    assert [need.name for need in needs_of(chosen)] == ["tts", "brain"]
    chosen.engines["tts"].launch = None
    assert [need.name for need in needs_of(chosen)] == ["brain"]


def test_an_unknown_model_must_be_stated() -> None:
    verdict = fit([Need("own", 0)], 24.0, reserve_gb=2, card_name="card 0")
    assert verdict.problems == ()
    assert verdict.notes == ("own: nobody knows what it needs; say it as engines.own.gpu_gb",)


def test_what_nvidia_smi_says_is_read() -> None:
    text = "0, NVIDIA H100 80GB HBM3, 81559, 1024, 37, 45\n1, Some GPU, [N/A], 5, [N/A], 60\ngarbage\n"
    first, second = parse_cards(text)
    assert (first.name, first.memory_total_mib, first.utilisation_percent) == ("NVIDIA H100 80GB HBM3", 81559, 37)
    assert first.total_gb == pytest.approx(85.5, abs=0.1)
    assert (second.memory_total_mib, second.memory_used_mib, second.temperature_c) == (None, 5, 60)
    assert second.total_gb is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 9", "nvidia-smi failed: "),
        ("echo no devices were found", "nvidia-smi lists no GPU"),
        ("echo '0, A card, 24564, 400, 3, 41'", None),
    ],
)
def test_nvidia_smi_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str | None) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    cards, said = read_cards()
    assert said == reason
    assert [card.memory_total_mib for card in cards] == ([24_564.0] if reason is None else [])
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert read_cards() == ([], "nvidia-smi is not installed")
