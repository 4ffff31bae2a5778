"""What the front-ends' records do to the text-to-speech service, and which records come back."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from engines.kyutai.link.channel import CLOSE, ERROR, OPEN
from engines.kyutai.tts_engine import TtsEngine
from engines.kyutai.tts_metrics import TtsMetrics
from engines.kyutai.tts_records import Done, Ended, Failed, Frame, Open, Opened, OwnVoice, Words, at_front, to_engine
from engines.kyutai.tts_service import TtsService
from tests.engines.fake_tts import FakeTts, frames


class Wired:
    def __init__(self, **options) -> None:
        self.registry = CollectorRegistry()
        self.model = FakeTts(1, 2)
        service = TtsService(self.model, clock=time.monotonic, metrics=TtsMetrics(self.registry), **options)
        service.warm([1])
        self.sent: dict[str, list[object]] = {}
        self.engine = TtsEngine(service, self.send, self.registry)

    def send(self, session: str, kind: int, payload: bytes) -> None:
        self.sent.setdefault(session, []).append(at_front(kind, payload))

    def say(self, session: str, *asks) -> list[object]:
        for ask in asks:
            self.engine.heard(session, *to_engine(ask))
        return self.sent.get(session, [])

    def status(self) -> dict[str, int]:
        return json.loads(self.engine.answer("status"))


FREE = {"slots_used": 0, "slots": 2, "sessions": 0}


def test_a_session_from_its_first_record_to_its_last():
    wired = Wired()
    sent = wired.say("0.1", Open("ada", 4), Words([[1], [2]]), Ended())
    assert sent == [Opened()]
    assert wired.status() == {**FREE, "sessions": 1}
    while not isinstance(sent[-1], Done):
        wired.engine.tick()
    assert sum(isinstance(event, Frame) for event in sent) == frames(2)
    assert wired.model.voices[-1] == "ada"
    assert wired.status() == FREE
    assert b"kyutai_tts_slots_used 0.0" in wired.engine.answer("metrics")
    assert wired.engine.answer("the weather") == b""


def test_who_leaves_frees_his_slot_at_once():
    wired = Wired()
    wired.say("0.1", Open(None, 1), Words([[1]] * 9))
    wired.engine.tick()
    assert wired.status() == {**FREE, "slots_used": 1, "sessions": 1}
    wired.engine.left("0.1")
    assert wired.status() == FREE


@pytest.mark.parametrize(
    ("options", "asks", "why"),
    [
        ({"voices": ["ada", "ben"]}, [Open("eve", 1)], "unknown voice 'eve'; there are: ada, ben"),
        ({}, [Open("bad", 1), Words([[1]])], "the file of the voice bad is broken"),
        ({}, [Open(None, 1), Words([[1]]), OwnVoice(np.ones(3, np.float32))], "Voice: it is wanted before any text"),
        ({}, [Open(None, 1), Words([[1]]), Ended(), Words([[1]])], "Text: it came after Eos"),
    ],
)
def test_who_asks_for_what_cannot_be_is_told_why_and_holds_nothing(options, asks, why):
    wired = Wired(**options)
    wired.say("0.1", *asks)
    wired.engine.tick()
    assert wired.sent["0.1"][-1] == Failed(why)
    assert wired.status() == FREE


def test_one_more_than_can_be_finds_no_free_channels():
    wired = Wired()
    for number in range(3):
        wired.say(f"0.{number}", Open(None, 1))
    assert wired.sent["0.2"] == [Failed("no free channels")]
    assert wired.status()["sessions"] == 2


def test_the_kinds_that_end_a_session_are_those_that_the_host_knows():
    wired = Wired()
    kinds: list[int] = []
    wired.engine._send = lambda session, kind, payload: kinds.append(kind)
    wired.engine.heard("0.1", OPEN, b'{"voice": null, "seed": 1}')
    wired.engine.heard("0.1", *to_engine(Ended()))
    wired.engine.tick()
    wired.engine.heard("0.2", OPEN, b'{"voice": "bad", "seed": 1}')
    wired.engine.heard("0.2", *to_engine(Words([[1]])))
    wired.engine.tick()
    assert [kind for kind in kinds if kind in (CLOSE, ERROR)] == [CLOSE, ERROR]
