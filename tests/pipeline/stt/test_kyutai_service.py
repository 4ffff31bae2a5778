"""The Kyutai engine of the process: what it needs to load, whom it admits, what it says of itself, and files as turns."""

from __future__ import annotations

import sys

import pytest

from pipeline.engine import AtCapacity, CallState
from pipeline.settings.tree import KyutaiSTTSettings, PocketsphinxSettings, Settings
from pipeline.stt.kyutai import KyutaiEngine, make_engine
from pipeline.stt.kyutai_stage import KyutaiSTTService
from pipeline.stt.once import recognise_once
from pipeline.stt.pocketsphinx import PocketsphinxEngine
from tests.pipeline.stt.fake_kyutai import FakeKyutai
from tests.pipeline.stt.kyutai_call import FIRST, WORDS, Wav, sentence
from tests.pipeline.stt.speech import MARKET, read_pcm, room_tone


def settings_for(**kyutai: object) -> Settings:
    return Settings.model_validate({"stt": {"engine": "kyutai", "kyutai": kyutai}})


async def test_from_load_to_close() -> None:
    async with FakeKyutai(WORDS) as fake:
        engine = make_engine(settings_for(url=fake.url, fallback="none"))
        assert engine.status().state == "unloaded"
        with pytest.raises(AtCapacity, match="unloaded"):
            engine.admit()
        await engine.load()
        engine.admit()
        status = engine.status()
        assert (status.name, status.stage, status.state) == ("kyutai", "stt", "ready")
        assert status.detail["extensions"] == ["flush", "pcm16"]
        assert "error" not in status.detail
        assert isinstance(engine.create(CallState("a", "beginner", "introductions")), KyutaiSTTService)
        await engine.close()
        await engine.close()
        assert engine.status().state == "unloaded"


async def test_without_a_server_only_a_spare_engine_makes_it_ready() -> None:
    async with FakeKyutai(WORDS) as fake:
        url = fake.url
    alone = KyutaiEngine(KyutaiSTTSettings(url=url), None)
    with pytest.raises(RuntimeError, match="speech to text at http"):
        await alone.load()
    assert alone.status().state == "failed"
    spare = PocketsphinxEngine(PocketsphinxSettings(workers=1))
    engine = KyutaiEngine(KyutaiSTTSettings(url=url), spare)
    await engine.load()
    try:
        status = engine.status()
        assert status.state == "ready"
        assert "speech to text at http" in status.detail["error"]
        assert status.detail["fallback"] == "pocketsphinx"
        assert spare.status().state == "ready"
    finally:
        await engine.close()
    assert spare.status().state == "unloaded"


async def test_a_full_server_admits_nobody_unless_another_stands_in() -> None:
    async with FakeKyutai(WORDS, slots=0) as fake:
        engine = KyutaiEngine(KyutaiSTTSettings(url=fake.url), None)
        await engine.load()
        with pytest.raises(AtCapacity, match="no free slot"):
            engine.admit()
        spare = PocketsphinxEngine(PocketsphinxSettings(workers=1))
        other = KyutaiEngine(KyutaiSTTSettings(url=fake.url), spare)
        await other.load()
        try:
            other.admit()
        finally:
            await other.close()


@pytest.mark.parametrize(
    ("kyutai", "said"),
    [
        ({}, r"^stt\.kyutai\.url: the address of the speech server is missing"),
        ({"url": "ftp://a.b"}, r"^stt\.kyutai\.url: 'ftp://a\.b' is no address"),
    ],
)
def test_settings_that_cannot_work_are_one_clear_line(kyutai: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make_engine(settings_for(fallback="none", **kyutai))


def test_a_fallback_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ValueError, match=r"^stt\.kyutai\.fallback: .*whisper.*pocketsphinx is always there"):
        make_engine(settings_for(url="http://127.0.0.1:1", fallback="whisper"))


@pytest.mark.parametrize("offered", [("pcm16", "flush"), ()], ids=["engine", "moshi-server"])
async def test_a_file_is_heard_whole_at_the_servers_own_pace(flite_wav: Wav, offered: tuple[str, ...]) -> None:
    """A minute of speech at once is more than a connection keeps, and more than a server lets wait."""
    times = 12
    audio = (sentence(flite_wav) + room_tone(0.5)) * times + room_tone(1.0)
    assert len(audio) / 32_000 > 40
    async with FakeKyutai(WORDS, offered=offered, step_s=0.002) as fake:
        engine = KyutaiEngine(KyutaiSTTSettings(url=fake.url, delay_s=0.5), None)
        await engine.load()
        heard = await recognise_once(engine.create(CallState("a", "beginner", "introductions")), audio)
        assert heard.text == " ".join([MARKET] * times)
        assert len(heard.words) == len(FIRST) * times
        assert fake.most_unheard_s < 9.0  # the engine drops what is beyond 10 s
        assert len([s for s in fake.sessions if s.samples]) == 1
        assert fake.problems == []


async def test_a_file_is_recognised_by_the_spare_engine_where_nobody_else_is(flite_wav: Wav) -> None:
    async with FakeKyutai(WORDS) as fake:
        url = fake.url
    spare = PocketsphinxEngine(PocketsphinxSettings(workers=1, queue_deadline_s=30, utterance_timeout_s=60))
    engine = KyutaiEngine(KyutaiSTTSettings(url=url), spare)
    await engine.load()
    try:
        speech = room_tone(0.5) + read_pcm(flite_wav(MARKET)) + room_tone(0.5)
        heard = await recognise_once(engine.create(CallState("a", "beginner", "introductions")), speech)
        assert heard.text == MARKET
    finally:
        await engine.close()
