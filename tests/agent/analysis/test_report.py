"""The report as a whole: it says what was measured, and never more."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.analysis.report import WITHOUT_LISTS, first_report
from agent.analysis.words import tokens
from agent.record import LEVELS, CallRecord, Correction, Turn, TurnMetrics, Word
from agent.scripted import ScriptedTutor
from agent.tutor import Message

ANSWERS = (
    "My name is Lena.",
    "I am come from Spain",
    "I live in Madrid",
    "I am teacher",
    "yes I like my job",
    "I have two brother",
    "I like playing football with my friends",
    "I like pizza",
)


def practice(confidence: float | None, *, typed: bool = False, answers: tuple[str, ...] = ANSWERS) -> CallRecord:
    """A call with the scripted tutor in which everything was heard with ``confidence``."""
    tutor, messages, turns = ScriptedTutor(), list[Message](), list[Turn]()
    at = 1000.0
    for text in ("", *answers):
        if text:
            words = [Word(w.lower().strip("."), 0.4 * i, 0.4 * (i + 1), confidence) for i, w in enumerate(text.split())]
            turns.append(Turn(len(turns), "learner", text, at + 1.5, at + 5, words=[] if typed else words, typed=typed))
            messages.append({"role": "user", "content": text})
        reply = tutor.respond(messages, lesson="introductions", level="beginner")
        if turns:
            turns[-1].corrections = list(reply.corrections)
        turns.append(Turn(len(turns), "tutor", reply.text, at + 6, at + 9, words=[Word("x", 0.0, 3.0)]))
        messages.append({"role": "assistant", "content": reply.text})
        at += 9
    rows = [TurnMetrics(t.index, user_stop=0.0, sent=500.0) for t in turns if t.role == "learner"]
    return CallRecord("s", 1000.0, "webrtc", "beginner", "introductions", turns, rows)


def test_a_call_that_was_heard_well() -> None:
    report = first_report(practice(0.95))
    assert [(m["original"], m["correction"]) for m in report["mistakes"]] == [
        ("I am come from Spain", "I come from Spain"),
        ("I am teacher", "I am a teacher"),
        ("I have two brother", "I have two brothers"),
    ]
    # 4 + 5 + 4 + 3 + 5 + 4 + 7 + 3 = 35 words, 3 edits.
    assert report["measures"]["learner_words"]["value"] == 35
    assert report["grammar_score"] == round(100 * (1 - 3 / 35))
    # Pace 150 of 60 words a minute; 14 s of the learner, 27 s of the tutor.
    assert report["measures"]["words_per_minute"]["value"] == 150.0
    assert report["measures"]["talk_ratio"]["value"] == 0.34
    assert report["final_score"] == round((report["grammar_score"] + 100 + 68) / 3)
    assert report["latency"] == {"v2v_p50_ms": 500.0, "v2v_p90_ms": 500.0, "n": 8}
    assert "Measured on 8 turns with 35 words" in report["notes"][0]
    assert any("playing football with my friends" in line for line in report["strengths"])
    assert report["suggestions"][0] == "Say “I come from Spain” instead of “I am come from Spain”."
    for name, measure in report["measures"].items():
        assert set(measure) == {"value", "unit", "source"}, name
        assert measure["unit"]
        assert measure["source"].endswith(".")


def test_a_call_that_was_heard_badly_is_not_judged() -> None:
    for confidence in (0.4, None):
        report = first_report(practice(confidence))
        assert (report["grammar_score"], report["final_score"], report["mistakes"]) == (None, None, [])
        assert report["notes"][0] == "not heard well enough to judge"
        assert any("3 corrections were left out" in note for note in report["notes"])
        assert any("hard to hear" in line for line in report["suggestions"])
        assert any("does not say how sure" in note for note in report["notes"]) is (confidence is None)
        assert not any("mistakes" in line for line in report["strengths"])


def test_a_typed_call_is_judged_without_pace() -> None:
    report = first_report(practice(None, typed=True))
    assert len(report["mistakes"]) == 3
    assert report["final_score"] == report["grammar_score"]
    assert report["measures"]["words_per_minute"]["value"] is None
    assert report["measures"]["talk_ratio"]["value"] is None


def test_too_little_speech_is_said() -> None:
    report = first_report(practice(0.95, answers=("My name is Lena", "I am come from Spain")))
    assert (report["grammar_score"], report["final_score"], report["strengths"]) == (None, None, [])
    assert report["notes"][0] == "not enough speech"
    assert "at least 25 words in 3 turns" in report["suggestions"][-1]
    assert "this call had 9 in 2" in report["suggestions"][-1]
    # What was heard well may still be corrected.
    assert len(report["mistakes"]) == 1


def test_nobody_spoke() -> None:
    report = first_report(CallRecord("s", 0.0, "webrtc", "advanced", "introductions"))
    assert report["grammar_score"] is None
    assert report["notes"] == ["not enough speech", "You said nothing, and typed nothing."]
    assert report["measures"]["talk_ratio"]["value"] is None
    assert report["measures"]["learner_words"]["value"] == 0


def test_without_the_word_lists_the_rest_is_the_same() -> None:
    whole, quick = first_report(practice(0.95)), first_report(practice(0.95), with_lists=False)
    assert quick["levels"] is None
    assert quick["notes"] == [*whole["notes"], WITHOUT_LISTS]
    differing = {name for name, measure in quick["measures"].items() if measure != whole["measures"][name]}
    assert differing == {"articulation_rate", "mean_length_of_run"}
    assert all(quick["measures"][name]["value"] is None for name in differing)
    assert {key: quick[key] for key in ("grammar_score", "final_score", "mistakes", "turns", "latency")} == {
        key: whole[key] for key in ("grammar_score", "final_score", "mistakes", "turns", "latency")
    }


times = st.floats() | st.floats(0, 2e9)
texts = st.text(max_size=15) | st.sampled_from(["I am come from China", "yes", "i am teacher", "well done my friend", "’'—"])
words = st.builds(Word, texts, times, times, st.none() | st.floats() | st.sampled_from([0.0, 0.7, 0.95, 1.0]))
turns = st.builds(
    Turn,
    index=st.integers(-5, 2**40),
    role=st.sampled_from(["learner", "tutor"]),
    text=texts,
    started_at=times,
    ended_at=times,
    words=st.lists(words, max_size=8),
    interrupted=st.booleans(),
    typed=st.booleans(),
    corrections=st.lists(st.builds(Correction, texts, texts, texts), max_size=3),
)
optional = st.none() | times
records = st.builds(
    CallRecord,
    session_id=texts,
    started_at=times,
    door=texts,
    level=st.sampled_from(LEVELS),
    lesson=texts,
    turns=st.lists(turns, max_size=8),
    metrics=st.lists(st.builds(TurnMetrics, turn=st.integers(), user_stop=optional, sent=optional), max_size=5),
    ended_at=optional,
    end_reason=st.none() | texts,
)


def _said(record: CallRecord, index: int) -> list[list[str]]:
    return [tokens(t.text) for t in record.turns if t.index == index and t.role == "learner"]


def _holds(hay: list[str], needle: list[str]) -> bool:
    return any(hay[i : i + len(needle)] == needle for i in range(len(hay)))


@given(records)
@settings(max_examples=300, deadline=None)
def test_any_record_makes_an_honest_report(record: CallRecord) -> None:
    report: dict[str, Any] = first_report(record)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    for score in (report["grammar_score"], report["final_score"]):
        assert score is None or 0 <= score <= 100
    if report["grammar_score"] is None:
        assert report["final_score"] is None
        assert report["notes"][0] in ("not enough speech", "not heard well enough to judge")
    for mistake in report["mistakes"]:
        assert any(_holds(said, tokens(mistake["original"])) for said in _said(record, mistake["turn"]))
        assert mistake["time_s"] is None or mistake["time_s"] >= 0
    for share in ("talk_ratio", "pause_share"):
        ratio = report["measures"][share]["value"]
        assert ratio is None or 0 <= ratio <= 1
    assert sum(report["levels"]["profile"].values()) == report["levels"]["words"]
    assert sum(turn["words"] for turn in report["turns"]) == report["measures"]["learner_words"]["value"]
    assert {m["turn"] for m in report["mistakes"]} <= {turn["turn"] for turn in report["turns"]}


@given(records, st.floats(0, 0.69))
@settings(max_examples=100, deadline=None)
def test_nothing_is_judged_on_unsure_words(record: CallRecord, confidence: float) -> None:
    for turn in record.turns:
        turn.typed = False
        turn.words = [Word(w.text, w.start_s, w.end_s, confidence) for w in turn.words]
    report = first_report(record)
    assert report["mistakes"] == []
    assert report["grammar_score"] is None
    assert report["measures"]["vocabulary_size"]["value"] is None
    assert report["levels"]["words"] == 0
