"""Marks in, rows out."""

from dataclasses import replace

import pytest

from agent.record import TurnMetrics
from pipeline.metrics.prometheus import REGISTRY, RowExporter, stage_seconds
from pipeline.metrics.turn_clock import TurnClock


def collect() -> tuple[TurnClock, list[TurnMetrics]]:
    rows: list[TurnMetrics] = []
    return TurnClock(lambda row: rows.append(replace(row))), rows


def answer(clock: TurnClock, turn: int, utterance: str, start: float) -> None:
    clock.user_stop(start)
    clock.stt_final(start + 0.25)
    clock.end_of_turn(start + 0.3)
    clock.number(turn)
    clock.llm_text("Hello", start + 0.31)
    clock.llm_text(" there.", start + 0.33)
    clock.llm_text(" More", start + 0.35)
    clock.llm_end(start + 0.36)
    clock.tts_audio(utterance, start + 0.4)
    clock.sent(utterance, start + 0.42)


def test_a_whole_turn_makes_one_row_in_ms():
    clock, rows = collect()
    clock.turn_started()
    answer(clock, 4, "u1", 10.0)
    [row] = rows
    assert (row.turn, row.user_stop, row.eot, row.stt_final) == (4, 10_000, 10_300, 10_250)
    assert (row.llm_first_token, row.llm_first_sentence, row.tts_first_audio, row.sent) == (10_310, 10_330, 10_400, 10_420)
    assert row.v2v_ms == 420
    assert row.barge_in_ms is None
    assert row.verdict is None


def test_a_voice_after_the_end_of_the_turn_is_not_of_the_turn():
    clock, _ = collect()
    clock.turn_started()
    answer(clock, 1, "u1", 1.0)
    assert clock.row is not None
    clock.user_stop(1.02)  # found out late, but said before the end
    assert clock.row.user_stop == 1020
    clock.user_stop(1.9)
    assert clock.row.user_stop == 1020


def test_a_final_without_words_does_not_take_the_place_of_one_with():
    clock, rows = collect()
    clock.turn_started()
    answer(clock, 1, "u1", 1.0)
    clock.stt_final(1.5, empty=True)
    assert rows[0].stt_final == 1250
    clock.turn_started()
    clock.stt_final(2.0, empty=True)
    assert clock.row is not None
    assert clock.row.stt_final == 2000


def test_the_first_mark_of_the_decision_counts():
    clock, rows = collect()
    clock.turn_started()
    clock.end_of_turn(0.9)
    answer(clock, 1, "u1", 1.0)
    assert rows[0].eot == 900


def test_heard_is_a_series_of_its_own_and_hands_the_row_out_again():
    clock, rows = collect()
    clock.turn_started()
    answer(clock, 1, "u1", 5.0)
    clock.heard("u1", 5.5)
    clock.heard("u1", 9.9)
    assert [r.heard for r in rows] == [None, 5_500]
    assert rows[1].v2v_ms == rows[0].v2v_ms == 420


def test_a_greeting_has_no_voice_to_voice():
    clock, rows = collect()
    clock.tutor_first()
    clock.number(0)
    clock.llm_text("Hi!", 1.0)
    clock.tts_audio("g", 1.1)
    clock.sent("g", 1.2)
    assert rows[0].v2v_ms is None
    assert rows[0].sent == 1_200


def test_a_late_packet_of_the_old_answer_does_not_touch_the_new_row():
    clock, rows = collect()
    clock.turn_started()
    answer(clock, 1, "old", 1.0)
    clock.turn_started(onset_s=3.0)
    clock.ducked(3.1)
    clock.stopped(3.25)
    clock.heard("old", 3.3)
    answer(clock, 3, "new", 4.0)
    assert [r.turn for r in rows] == [1, 1, 3]
    last = rows[-1]
    assert (last.onset, last.ducked, last.stopped, last.verdict, last.barge_in_ms) == (3_000, 3_100, 3_250, "real", 250)
    assert rows[1].stopped is None


def test_a_reply_without_a_full_stop_still_has_a_first_sentence():
    clock, rows = collect()
    clock.turn_started()
    clock.number(2)
    clock.llm_text("no stop", 1.0)
    clock.llm_end(1.5)
    clock.tts_audio("u", 1.6)
    clock.sent("u", 1.7)
    assert rows[0].llm_first_sentence == 1_500


def test_marks_without_a_turn_are_ignored():
    clock, rows = collect()
    clock.user_stop(1.0)
    clock.llm_text("x", 1.0)
    clock.tts_audio("u", 1.0)
    clock.sent("u", 1.0)
    clock.stopped(1.0)
    assert rows == []


def test_stage_shares_add_up_to_voice_to_voice_in_any_order_of_stt_and_eot():
    row = TurnMetrics(1, user_stop=0, eot=300, stt_final=250, llm_first_token=310, tts_first_audio=400, sent=420)
    shares = stage_seconds(row)
    assert sum(shares.values()) == pytest.approx(0.42)
    assert shares["stt_final"] == pytest.approx(0.25)
    assert shares["eot"] == pytest.approx(0.05)


def test_a_row_that_is_handed_out_twice_is_counted_once():
    def count() -> float:
        return REGISTRY.get_sample_value("parley_voice_to_voice_seconds_count", {"door": "test"}) or 0.0

    exporter = RowExporter("test")
    row = TurnMetrics(1, user_stop=0, sent=400)
    exporter.export(row)
    exporter.export(replace(row, heard=450))
    assert count() == 1
    assert REGISTRY.get_sample_value("parley_voice_to_heard_seconds_count", {"door": "test"}) == 1
