"""Messages of a call told as events: what happens in which order, without a call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.settings.tree import TurnSettings, VADSettings
from pipeline.transports.codecs import to_recogniser
from web.doors.realtime.checks import Abilities
from web.doors.realtime.config import Config, changed, codec_of
from web.doors.realtime.events import parse_session
from web.doors.realtime.items import Items
from web.doors.realtime.responses import SETTLED, Narrator, Response

TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "any"}}}}


class Told:
    """A narrator, and what it said."""

    def __init__(self, **wanted: Any) -> None:
        self.items = Items()
        self.config = changed(Config(), parse_session({**TRANSCRIBED, **wanted}), Abilities())
        self.spoken_ms = 1_000.0
        self.narrator = Narrator(
            self.items, lambda: self.config, webrtc=False, rate_limits=list, spoken_ms=lambda: self.spoken_ms
        )
        self.events: list[Any] = []

    def say(self, kind: str, **fields: Any) -> list[str]:
        told = self.narrator.tell({"type": kind, **fields})
        self.events += told
        return [e.type.rpartition(".")[2] for e in told]

    def of(self, kind: str) -> list[Any]:
        return [e for e in self.events if e.type == kind]

    def reply(self, text: str) -> None:
        self.say("ai_text", text=text, is_complete=False)
        self.say("ai_text", text=text, is_complete=True)
        self.events += self.narrator.audio(bytes(960))


def test_a_turn_whose_words_come_before_its_end() -> None:
    told = Told()
    assert told.say("speaking", who="learner", active=True) == ["speech_started"]
    assert told.say("transcript", text="hello", is_final=True) == [
        "speech_stopped",
        "committed",
        "added",
        "done",
        "delta",
        "completed",
    ]
    assert told.say("speaking", who="learner", active=False) == []
    assert len(told.items) == 1


def test_words_of_no_turn_and_words_that_come_late() -> None:
    told = Told()
    told.say("speaking", who="learner", active=True)
    told.say("speaking", who="learner", active=False)
    told.say("transcript", text="i like", is_final=True)
    assert told.say("transcript", text="", is_final=True) == []
    assert told.say("transcript", text="uh huh", is_final=True) == []
    assert told.say("transcript", text="i like tea", is_final=True) == ["delta", "completed"]
    assert {e.item_id for e in told.of("conversation.item.input_audio_transcription.completed")} == {
        told.of("input_audio_buffer.committed")[0].item_id
    }


def test_a_second_speaking_starts_no_second_turn() -> None:
    told = Told()
    told.say("speaking", who="learner", active=True)
    assert told.say("speaking", who="learner", active=True) == []


def test_speaking_before_the_answer_has_begun_cancels_it() -> None:
    told = Told()
    told.events += told.narrator.begin(Response())
    assert told.say("speaking", who="learner", active=True) == ["speech_started", "done"]
    assert told.of("response.done")[0].response["status_details"]["reason"] == "turn_detected"
    assert told.narrator.active is None
    assert told.say(SETTLED, response_id="resp_old") == []


def test_a_cancelled_response_ends_once() -> None:
    told = Told()
    response = Response()
    told.narrator.begin(response)
    told.reply("One two three.")
    told.narrator.next_reason = "client_cancelled"
    told.say("interrupted", text="One")
    assert told.narrator.audio(bytes(960)) == []
    told.say("turn_complete")
    assert told.say(SETTLED, response_id=response.id) == []
    (done,) = told.of("response.done")
    assert done.response["status"] == "cancelled"
    assert done.response["output"][0]["content"][0]["transcript"] == "One"
    assert done.response["output"][0]["status"] == "incomplete"


def test_a_fault_fails_the_response_and_the_apology_is_one_of_its_own() -> None:
    told = Told()
    told.narrator.begin(Response())
    told.say("error", message="The tutor has lost its thread.")
    told.say("turn_complete")
    told.reply("I am sorry.")
    told.say("turn_complete")
    assert [e.response["status"] for e in told.of("response.done")] == ["failed", "completed"]
    assert told.of("error")[0].error.type == "server_error"


def test_replies_are_numbered_as_the_session_numbers_them() -> None:
    told = Told()
    told.reply("One.")
    told.say("turn_complete")
    told.say("turn_complete")  # one without a word
    told.reply("Three.")
    assert [item.reply for item in told.items] == [0, 2]


def test_nothing_is_transcribed_unless_it_was_asked_for() -> None:
    told = Told(audio={"input": {"transcription": None}})
    told.say("speaking", who="learner", active=True)
    told.say("transcript", text="hello", is_final=True)
    assert told.of("conversation.item.input_audio_transcription.completed") == []


@pytest.mark.parametrize(("eagerness", "patience"), [("low", 1.6), ("high", 0.7)])
def test_eagerness_is_patience(eagerness: str, patience: float) -> None:
    told = Told(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": eagerness}}})
    turns = told.config.turns(TurnSettings())
    assert turns is not None
    assert (turns.end, turns.patience) == ("patient", pytest.approx(patience))
    assert told.config.vad(VADSettings()) is None


def test_a_fixed_silence_is_waited_for_behind_the_voice_detector() -> None:
    wanted = {"type": "server_vad", "silence_duration_ms": 800, "threshold": 0.8}
    told = Told(audio={"input": {"turn_detection": wanted}})
    turns, vad = told.config.turns(TurnSettings()), told.config.vad(VADSettings())
    assert turns is not None
    assert vad is not None
    assert (turns.end, turns.smart_turn) == ("stock", False)
    assert turns.silence_s + vad.stop_s == pytest.approx(0.8)
    assert vad.confidence == 0.8
    assert Told().config.turns(TurnSettings()) is None


@pytest.mark.parametrize("kind", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_a_tone_comes_through_every_format(kind: str) -> None:
    codec = codec_of(Told(audio={"input": {"format": {"type": kind}}}).config.input_format)
    t = np.arange(2 * codec.rate_hz) / codec.rate_hz
    tone = (8_000 * np.sin(2 * np.pi * 1_000 * t)).astype("<i2").tobytes()
    encoded, resampler = codec.encode(tone), to_recogniser(codec.rate_hz)
    step = codec.rate_hz // 50 * codec.sample_bytes
    heard = b"".join(resampler.process(codec.decode(encoded[at : at + step])) for at in range(0, len(encoded), step))
    samples = np.frombuffer(heard, np.int16).astype(float)
    assert len(samples) == pytest.approx(32_000, abs=800)
    middle = samples[8_000:24_000] * np.hanning(16_000)
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == 1_000
    level_db = 20 * np.log10(np.sqrt(np.mean(samples[8_000:24_000] ** 2)) / (8_000 / np.sqrt(2)))
    assert abs(level_db) < 1.0
