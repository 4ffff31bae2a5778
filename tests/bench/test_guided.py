"""``bench guided``: its draws, what it counts, and a small run over real recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.guided import (
    SENTENCES,
    Clip,
    Trial,
    draws_of,
    fitted,
    free_speech,
    hear_parley,
    hear_peer,
    judge,
    learners,
    mean_ci,
    report,
    run,
    sureness,
)
from bench.hearing import hear
from pipeline.stt.guided import WEIGHTS

TEXTS = [f"{'word ' * (4 + k % 3)}{k}" for k in range(24)]
CLIPS = [Clip(Path(f"{k}.wav"), f"speaker {k % 4}", text) for k, text in enumerate(TEXTS)]


def test_draws() -> None:
    draws = draws_of(CLIPS, 3)
    assert len(draws) == 3 * 2 * len(CLIPS)
    for draw in draws:
        true = CLIPS[draw.clip].text
        assert len(set(draw.sentences)) == SENTENCES
        assert (true in draw.sentences) is draw.inside
        assert all(abs(len(s.split()) - len(true.split())) <= 2 for s in draw.sentences)
    assert draws == draws_of(CLIPS, 3)
    assert draws != draws_of(CLIPS, 3, seed=1)
    assert len({d.sentences.index(CLIPS[d.clip].text) for d in draws if d.inside}) == SENTENCES


def trials(right: Callable[[int], bool], sure: Callable[[int, bool], float], *, width: int = 1) -> list[Trial]:
    """One trial with and one without the true sentence of each clip."""
    out = []
    for draw in draws_of(CLIPS, 1):
        best = CLIPS[draw.clip].text if draw.inside and right(draw.clip) else "another"
        out.append(Trial(draw, best, (sure(draw.clip, draw.inside),) * width, taken=draw.inside))
    return out


def test_all_right_and_surer_than_any_other() -> None:
    judged = judge(CLIPS, trials(lambda _: True, lambda k, inside: 100.0 + k if inside else float(k)))
    assert set(judged.right.values()) == set(judged.accepted.values()) == {1.0}
    assert sum(judged.let_through.values()) / 4 == pytest.approx(0.1, abs=0.1)
    assert (judged.taken_right, judged.taken_wrong) == (dict.fromkeys(judged.right, 1.0), dict.fromkeys(judged.right, 0.0))


def test_right_but_no_surer_than_any_other() -> None:
    judged = judge(CLIPS, trials(lambda _: True, lambda k, _inside: float(k)))
    assert set(judged.right.values()) == {1.0}
    assert sum(judged.accepted.values()) / 4 < 0.25


def test_wrong_is_not_accepted_however_sure() -> None:
    judged = judge(CLIPS, trials(lambda k: k % 4 != 2, lambda _k, inside: 9.0 if inside else 0.0))
    assert judged.accepted == {"speaker 0": 1.0, "speaker 1": 1.0, "speaker 2": 0.0, "speaker 3": 1.0}


def test_no_result_is_wrong_and_not_accepted() -> None:
    missing = [Trial(t.draw, None, ()) if t.draw.clip == 5 else t for t in trials(lambda _: True, lambda k, i: 50.0 * i + k)]
    judged = judge(CLIPS, missing)
    assert judged.right["speaker 1"] == judged.accepted["speaker 1"] == pytest.approx(5 / 6)


def test_a_speakers_own_trials_do_not_weigh_in_their_fit() -> None:
    plain = trials(lambda _: True, lambda k, inside: 50.0 * inside + k, width=2)
    own = [CLIPS[t.draw.clip].speaker == "speaker 0" for t in plain]
    odd = [Trial(t.draw, t.best, (-t.features[0], 7.0)) if mine else t for t, mine in zip(plain, own, strict=True)]
    right = [t.draw.inside for t in plain]
    known = ~np.asarray(own)
    first, second = (sureness(some, np.asarray(right), known) for some in (plain, odd))
    assert first[known] == pytest.approx(second[known])


def test_the_interval_is_one_of_speakers() -> None:
    low, high = mean_ci({"a": 1.0, "b": 1.0, "c": 0.0, "d": 1.0}) or (2.0, 2.0)
    assert 0 <= low < 0.75 < high <= 1
    assert mean_ci({"a": 1.0}) is None
    assert mean_ci({"a": 0.5, "b": 0.5}) == (0.5, 0.5)


def test_free_speech_is_counted_by_whether_it_is_sure() -> None:
    found = free_speech([("a b", "a b", True), ("a b", "a c", True), ("a b c d", "", False)])
    assert found == {"free_sure": 0.667, "free_sure_wer": 0.25, "free_unsure_wer": 1.0}
    assert free_speech([("a", "a", True)])["free_unsure_wer"] is None


def test_the_fit_names_a_weight_for_each_feature() -> None:
    found = fitted(CLIPS, trials(lambda _: True, lambda k, inside: 5.0 * inside + k % 3, width=3))
    assert len(found["weights"]) == 3
    shares = found["confidence_that_lets_through"]
    assert shares["0.1"] <= shares["0.05"] <= shares["0.02"]


async def test_without_recordings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARLEY_SPEECH_DIR", str(tmp_path))
    with pytest.raises(RuntimeError, match="PARLEY_SPEECH_DIR"):
        await run(True, [0])


def test_a_small_run(speech_dir: Path) -> None:
    """Three speakers, one short clip each: the plumbing; how good it is only the whole benchmark tells."""
    clips = learners(speech_dir)
    draws = [d for d in draws_of(clips, 1) if d.clip in (16, 6, 25)]
    ours, peer = hear_parley(clips, draws), hear_peer(clips, draws)
    assert [t.draw for t in ours.trials] == sorted(draws, key=lambda d: d.clip)
    assert all(len(t.features) == len(WEIGHTS) for t in ours.trials)
    assert all(t.best in t.draw.sentences for t in ours.trials)
    assert all((t.best is None) == (t.features == ()) for t in peer.trials)
    result = report(clips, ours, peer)
    for name in ("choice8_right", "accepted_right_at_10", "rtf", "memory_mb"):
        assert result["figures"][name] > 0
        assert name in result["peer"]
    assert result["input"] == {"clips": 3, "speakers": 3, "draws_of_each_clip": 1}


def test_hearing_gives_the_words_of_the_reply(flite_wav: Callable[..., Path]) -> None:
    pcm = flite_wav("yesterday i goed home").read_bytes()[44:]
    words = hear(pcm, ["Yesterday I went home.", "Yesterday I goed home."])
    assert [w.text for w in words] == ["yesterday", "i", "goed", "home"]
    assert all(w.confidence is not None and 0 < w.confidence <= 1 for w in words)
