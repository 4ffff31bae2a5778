"""The text-to-speech engine as it is started, on a tiny checkpoint in the real file format, over real sockets."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from safetensors.numpy import load_file

from engines.wire.kyutai import Eos, Text, Voice, pack
from tests.engines.tiny_tts import VOICE_SUFFIX, VOICES, write_tiny_tts
from tests.engines.tts_client import Client, Heard, client, hear, wait_until_ready

SLOTS = 4
SENTENCE = "what would you like to talk about this morning"
STOPS_WITHIN_S = 20.0


@dataclass
class Started:
    process: subprocess.Popen[str]
    base: str


def command(folder: Path, **settings: object) -> list[str]:
    """What starts the engine on the checkpoint in ``folder``."""
    config = folder / "engine.yaml"
    common = {"model": str(folder), "port": 0, "slots": SLOTS, "device": "cpu", "dtype": "float32", "front_ends": 2}
    config.write_text(yaml.safe_dump(common | settings))
    return [sys.executable, "-m", "engines.kyutai", "tts", "--config", str(config)]


def start(folder: Path, **settings: object) -> Started:
    process = subprocess.Popen(command(folder, **settings), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if at := re.search(r"listening on 127\.0\.0\.1:(\d+)", line):
            base = f"http://127.0.0.1:{at[1]}"
            break
    else:
        raise AssertionError("it never listened")
    try:
        wait_until_ready(base, 120.0)
    except TimeoutError:
        process.kill()
        raise
    return Started(process, base)


def stop(one: Started) -> int:
    """Its exit code."""
    family = psutil.Process(one.process.pid).children(recursive=True)
    one.process.send_signal(signal.SIGTERM)
    code = one.process.wait(STOPS_WITHIN_S)
    assert len(family) == 2
    _, alive = psutil.wait_procs(family, 5)
    assert alive == [], "a front-end outlives its engine"
    assert one.process.stderr is not None
    one.process.stderr.close()
    return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_tts(tmp_path_factory.mktemp("tts"))


@pytest.fixture(scope="module")
def server(folder) -> Iterator[Started]:
    one = start(folder, queue=20, default_voice="ben.wav")
    yield one
    assert stop(one) == 0


@pytest.fixture
async def speaker(server) -> AsyncIterator[Client]:
    async with client(server.base) as one:
        yield one
        assert (await one.emptied())["sessions"] == 0


def check(heard: Heard, text: str) -> None:
    """The words are those of the text, in order, within the audio."""
    assert heard.errors == []
    assert [word.text for word in heard.words] == text.split()
    length_s = len(heard.pcm) / 24_000
    ends = [0.0]
    for word in heard.words:
        assert ends[-1] <= word.start_s < word.stop_s <= length_s + 1e-9
        ends.append(word.stop_s)
    assert heard.pcm.std() > 0.01


async def test_a_session_sounds_the_same_alone_among_others_and_word_by_word(speaker):
    words = [pack(Text(word)) for word in SENTENCE.split()]
    alone = await speaker.say(*words, pack(Eos()), seed="11")
    check(alone, SENTENCE)

    async def slowly() -> Heard:
        async with speaker.socket(seed="11") as ws:
            for word in words:
                await ws.send_bytes(word)
                await asyncio.sleep(0.05)
            await ws.send_bytes(pack(Eos()))
            return await hear(ws)

    others = [speaker.say(*words[i:], pack(Eos()), voice=VOICES[i % 3]) for i in range(3)]
    among, *rest = await asyncio.gather(slowly(), *others)
    check(among, SENTENCE)
    assert np.abs(among.pcm - alone.pcm).max() < 1e-4
    assert [(word.start_s, word.stop_s) for word in among.words] == [(word.start_s, word.stop_s) for word in alone.words]
    for i, heard in enumerate(rest):
        check(heard, " ".join(SENTENCE.split()[i:]))
    another = await speaker.say(*words, pack(Eos()), seed="12")
    assert another.pcm.shape != alone.pcm.shape or np.abs(another.pcm - alone.pcm).max() > 0.1


async def test_twenty_sessions_on_four_slots(speaker):
    texts = [" ".join(SENTENCE.split()[i % 5 : i % 5 + 4]) for i in range(20)]
    for text, heard in zip(texts, await asyncio.gather(*(speaker.say(text, b"\0") for text in texts)), strict=True):
        check(heard, text)


async def test_a_voice_by_its_values_is_the_voice_by_its_name(speaker, folder):
    (values,) = load_file(folder / "voices" / f"ada.wav{VOICE_SUFFIX}").values()
    own = pack(Voice(values.ravel().tolist(), list(values.shape)))
    by_value = await speaker.say(own, SENTENCE, b"\0", seed="3")
    by_name = await speaker.say(SENTENCE, b"\0", seed="3", voice="ada.wav")
    default = await speaker.say(SENTENCE, b"\0", seed="3")
    assert np.abs(by_value.pcm - by_name.pcm).max() < 1e-4
    assert default.pcm.shape != by_name.pcm.shape or np.abs(default.pcm - by_name.pcm).max() > 1e-2
    wrong = await speaker.say(pack(Voice([0.5] * 6, [1, 2, 3])), SENTENCE, b"\0")
    assert wrong.errors == ["voice: an embedding of the shape [1, 8, 5] is wanted, not [1, 2, 3]"]


async def test_a_pause_is_heard_and_told(speaker):
    text = 'hello <break time="1s"/> there'
    heard = await speaker.say(text, b"\0", seed="3")
    assert [word.text for word in heard.words] == ["hello", '<break time="1.00s">', "there"]
    pause = heard.words[1]
    assert pause.stop_s - pause.start_s >= 12 * 0.08


async def test_many_who_go_in_the_middle_leave_nothing(speaker):
    async def one(frames: int) -> None:
        async with speaker.socket() as ws:
            await ws.send_str(SENTENCE)
            await hear(ws, frames=frames)

    for _ in range(3):
        await asyncio.gather(*(one(1 + i % 3) for i in range(8)))
    assert (await speaker.emptied())["slots_used"] == 0
    check(await speaker.say(SENTENCE, b"\0"), SENTENCE)


@pytest.mark.parametrize(
    ("settings", "code", "why"),
    [
        ({"default_voice": "eve"}, 1, "default_voice: there is no eve in .*; there are: ada.wav, ben.wav, den/cleo.wav"),
        ({"voices": "nowhere"}, 1, r"voices: there is no \*.*safetensors in nowhere"),
        ({"voices": "hf://nobody/voices"}, 1, "voices: hf://nobody/voices cannot be had from the hub: "),
        ({"model": "nothing/at-all-here"}, 1, "nothing/at-all-here"),
        ({"n_q": 99}, 2, "n_q"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(folder, settings, code, why):
    environment = {"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command(folder, **settings), capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == code
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(why, last), done.stderr
    assert "Traceback" not in done.stderr


def test_voices_of_a_repository_are_those_that_were_downloaded(folder, tmp_path):
    """In the layout of the hub's library, and without a network."""
    repository = tmp_path / "models--some--voices"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "0123abcd").symlink_to(folder / "voices", target_is_directory=True)
    program = (
        "import sys; from engines.kyutai.model.voices import voice_folder, voice_names;"
        "print(list(voice_names(voice_folder(*sys.argv[1:]), sys.argv[2])))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", program, "hf://some/voices", VOICE_SUFFIX]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.strip() == str(list(VOICES)), done.stderr
