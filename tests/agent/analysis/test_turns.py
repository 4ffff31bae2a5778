"""The series of the learner's turns."""

from __future__ import annotations

from agent.analysis.mistakes import mistakes
from agent.analysis.turns import turn_series
from agent.record import CallRecord, Correction, Turn, TurnMetrics, Word


def test_each_turn_of_the_learner_with_what_was_measured() -> None:
    words = [Word("i", 0.0, 0.5, 0.9), Word("am", 0.5, 1.0, 0.9), Word("teacher", 2.0, 3.0, 0.9)]
    turns = [
        Turn(0, "tutor", "What do you do?", 1000.0, 1002.0),
        Turn(
            1,
            "learner",
            "i am teacher",
            1003.5,
            1007.0,
            words=words,
            corrections=[Correction("am teacher", "am a teacher", "x")],
        ),
        Turn(2, "tutor", "Where?", 1009.0, 1010.0, interrupted=True),
        Turn(3, "learner", "school", 1010.0, 1011.0, words=[Word("school", 0.0, 0.5, 0.9)]),
        Turn(4, "tutor", "Good.", 1012.0, 1013.0),
        Turn(5, "learner", "I typed four words", 1020.0, 1020.0, typed=True),
    ]
    rows = [TurnMetrics(1, user_stop=0.0, sent=700.0), TurnMetrics(3), TurnMetrics(4, user_stop=0.0, sent=9.0)]
    record = CallRecord("s", 1000.0, "websocket", "beginner", "introductions", turns, rows)
    found, _ = mistakes(record)
    assert turn_series(record, found) == [
        {
            "turn": 1,
            "time_s": 3.5,
            "words": 3,
            "words_per_minute": 60.0,
            "response_time_s": 1.5,
            "pauses": 1,
            "mistakes": 1,
            "v2v_ms": 700.0,
        },
        {
            # An interruption has no response time, half a second of speech no rate.
            "turn": 3,
            "time_s": 10.0,
            "words": 1,
            "words_per_minute": None,
            "response_time_s": None,
            "pauses": 0,
            "mistakes": 0,
            "v2v_ms": None,
        },
        {
            "turn": 5,
            "time_s": 20.0,
            "words": 4,
            "words_per_minute": None,
            "response_time_s": None,
            "pauses": None,
            "mistakes": 0,
            "v2v_ms": None,
        },
    ]
