"""What a listener of text to speech may say and is sent, message by message; and what goes between the processes for it."""

from __future__ import annotations

import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.kyutai.front.encodings import encoding, int16, wav_header
from engines.kyutai.front.tts_stream import MOST_VOICE, TtsStream
from engines.kyutai.tts_records import (
    Done,
    Ended,
    Failed,
    Frame,
    Open,
    Opened,
    OwnVoice,
    Unwanted,
    WordBegun,
    Words,
    at_engine,
    at_front,
    to_engine,
    to_front,
)
from engines.wire.kyutai import (
    Audio,
    Cancel,
    Cancelled,
    Eos,
    Error,
    Pcm16,
    Ready,
    Text,
    TtsOut,
    Voice,
    WireError,
    pack,
    unpack,
)

PCM = np.linspace(-1.5, 1.5, 1920, dtype=np.float32)


def split(text: str) -> list[tuple[str, list[int]]]:
    return [(word, [len(word)]) for word in text.split()]


def stream(format_: str = "PcmMessagePack", granted: list[str] | None = None) -> TtsStream:
    return TtsStream(encoding(format_, pcm16="pcm16" in (granted or ())), split, granted=granted)


def read(messages: list[bytes]) -> list[object]:
    return [unpack(message, TtsOut) for message in messages]


def test_words_come_from_raw_text_and_from_messages_alike():
    one = stream()
    assert one.text("Hello there") == [Words([[5], [5]])]
    assert one.binary(pack(Text("my"))) == [Words([[2]])]
    assert one.binary(pack(Text("  \n"))) == []
    assert one.binary(pack(Text("dear friend"))) == [Words([[4], [6]])]


@pytest.mark.parametrize("end", [b"\0", pack(Eos())])
def test_the_end_ends_once_and_nothing_follows_it(end):
    one = stream()
    assert one.binary(end) == [Ended()]
    assert one.binary(end) == []
    with pytest.raises(WireError, match="after Eos"):
        one.text("more")


def test_a_word_is_told_when_its_end_is_known():
    one = stream()
    assert read(one.opened()) == [Ready()]
    one.text("one two")
    one.text("three")
    assert one.word(2) == []
    assert read(one.word(5)) == [Text("one", 2 * 0.08, 5 * 0.08)]
    assert read(one.word(9)) == [Text("two", 5 * 0.08, 9 * 0.08)]
    assert not one.over
    assert read(one.done(14)) == [Text("three", 9 * 0.08, 14 * 0.08)]
    assert one.over


def test_audio_is_what_was_asked_for():
    (floats,) = read(stream().frame(PCM))
    assert isinstance(floats, Audio)
    assert np.array_equal(np.array(floats.pcm, np.float32), PCM)
    (ints,) = read(stream(granted=["pcm16"]).frame(PCM))
    assert isinstance(ints, Pcm16)
    assert np.abs(np.frombuffer(ints.data, "<i2") / 32767 - np.clip(PCM, -1, 1)).max() <= 0.5 / 32767 + 1e-7
    (bare,) = stream("Pcm").frame(PCM)
    assert np.array_equal(np.frombuffer(bare, "<f4"), PCM)


def test_bare_audio_has_no_place_for_anything_else():
    one = stream("Pcm", ["cancel"])
    assert one.opened() == []
    one.text("one two")
    assert one.word(0) == one.word(3) == one.done(9) == []
    assert stream("Pcm").failed("no") == stream("Pcm").cancelled() == []


def test_a_failure_is_an_error_and_the_last_message():
    one = stream()
    assert read(one.failed("no free channels")) == [Error("no free channels")]
    assert one.over


def test_who_asked_for_it_may_cancel():
    one = stream(granted=["cancel"])
    assert read(one.opened()) == [Ready(["cancel"])]
    assert one.binary(pack(Cancel())) == [Unwanted()]
    assert read(one.cancelled()) == [Cancelled()]
    assert one.over
    with pytest.raises(WireError, match="not asked for"):
        stream().binary(pack(Cancel()))


def test_an_own_voice_comes_with_its_shape_and_before_the_text():
    values = [0.5, -1.0, 2.0, 3.0, 4.0, 5.0]
    one = stream()
    (voice,) = one.binary(pack(Voice(values, [1, 2, 3])))
    assert isinstance(voice, OwnVoice)
    assert np.array_equal(voice.embedding, np.array(values, np.float32).reshape(1, 2, 3))
    one.text("word")
    with pytest.raises(WireError, match="before any text"):
        one.binary(pack(Voice(values, [1, 2, 3])))


@pytest.mark.parametrize(
    ("values", "shape", "why"),
    [
        ([1.0, 2.0], [3], "do not make the shape"),
        ([1.0], [1, 1, 1, 1], "dimensions"),
        ([], [], "dimensions"),
        ([], [0], "dimensions"),
        ([1.0], [-1, -1], "dimensions"),
        ([1.0], [MOST_VOICE + 1], "values are wanted"),
        ([float("nan")], [1], "finite"),
        ([1e300], [1], "finite"),
        (["x"], [1], "numbers"),
    ],
)
def test_a_voice_that_is_none_is_refused(values, shape, why):
    with pytest.raises(WireError, match=why):
        stream().binary(msgpack.packb({"type": "Voice", "embeddings": values, "shape": shape}))


@given(st.binary(max_size=64))
def test_garbage_is_refused_in_one_clear_line(data):
    why = ""
    try:
        stream(granted=["cancel"]).binary(data)
    except WireError as e:
        why = str(e)
    # What is not refused has to be one of the messages.
    assert why or data == b"\0" or msgpack.unpackb(data)["type"] in ("Text", "Eos", "Cancel", "Voice")
    assert "\n" not in why


def test_an_unknown_format_names_the_known():
    with pytest.raises(ValueError, match=r"unknown format 'Mp3'; there are: OggOpus, OggOpusMessagePack, Pcm, PcmMessagePack"):
        encoding("Mp3")


def test_a_wav_that_is_still_made_has_no_length():
    head = wav_header()
    assert len(head) == len(wav_header(5)) == 44
    assert struct.unpack("<I", head[4:8]) == struct.unpack("<I", head[40:]) == (0xFFFFFFFF,)
    assert struct.unpack("<I", wav_header(5)[40:]) == (10,)


def test_16_bits_hold_the_loudest_and_no_more():
    assert np.frombuffer(int16(np.array([-2, -1, 0, 1, 2], np.float32)), "<i2").tolist() == [-32767, -32767, 0, 32767, 32767]


@pytest.mark.parametrize(
    "ask", [Open("a/voice.wav", 2**63), Open(None, 0), Words([[1, 2, 3], [4]]), Words([]), Ended(), Unwanted()], ids=repr
)
def test_asks_arrive_as_they_were_sent(ask):
    assert at_engine(*to_engine(ask)) == ask


@pytest.mark.parametrize("event", [Opened(), WordBegun(70_000), Done(0), Failed("é: nothing")], ids=repr)
def test_events_arrive_as_they_were_sent(event):
    assert at_front(*to_front(event)) == event


def test_samples_arrive_as_they_were_sent():
    frame = at_front(*to_front(Frame(PCM)))
    assert isinstance(frame, Frame)
    assert np.array_equal(frame.pcm, PCM)
    voice = at_engine(*to_engine(OwnVoice(PCM.reshape(2, 10, 96))))
    assert isinstance(voice, OwnVoice)
    assert np.array_equal(voice.embedding, PCM.reshape(2, 10, 96))


@pytest.mark.parametrize("reader", [at_engine, at_front])
def test_a_record_of_no_known_kind_is_refused(reader):
    with pytest.raises(ValueError, match="kind 99"):
        reader(99, b"")
