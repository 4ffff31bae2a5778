"""``talk --mic`` as people run it, with PortAudio on the null devices of a sound server of the test's own."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from web.talk.devices import NO_PORTAUDIO

ROOT = Path(__file__).resolve().parents[3]
WITHIN_S = 60.0


@pytest.fixture
def sound_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """PulseAudio with two null sinks: what is played on ``learner`` is this machine's microphone, its loudspeaker is ``tutor``.
    Gives the environment in which programs find them."""
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    (tmp_path / ".asoundrc").write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(run), "PULSE_SERVER": f"unix:{run}/socket"}
    modules = [f"module-native-protocol-unix socket={run}/socket auth-anonymous=1"]
    modules += [f"module-null-sink sink_name={name}" for name in ("learner", "tutor")]
    options = ["-n", "--exit-idle-time=-1", "--daemonize=no", "--use-pid-file=no", "--disable-shm=yes"]
    command = ["pulseaudio", *options, *(part for module in modules for part in ("-L", module))]
    with (tmp_path / "pulseaudio.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        for wanted in (["set-default-source", "learner.monitor"], ["set-default-sink", "tutor"]):
            until = time.monotonic() + WITHIN_S
            while subprocess.run(["pactl", *wanted], env=env, capture_output=True).returncode != 0:
                assert time.monotonic() < until, (tmp_path / "pulseaudio.log").read_text()
                time.sleep(0.1)
        yield env
    finally:
        process.terminate()
        process.wait(20)


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**env, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
        )
        os.close(slave)
        self.shown = ""

    def press(self, text: str) -> None:
        os.write(self._master, text.encode())

    def read(self, condition: Callable[[str], Any]) -> None:
        """Until what was shown fulfils ``condition``, or the program ends."""
        until = time.monotonic() + WITHIN_S
        while not condition(self.shown):
            assert time.monotonic() < until, self.shown[-3000:]
            if select.select([self._master], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self._master, 65_536).decode(errors="replace")
                except OSError:  # Linux's way to say that the other side is gone
                    return

    def close(self) -> int:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        if self.process.poll() is None:
            self.process.kill()
        os.close(self._master)
        return self.process.wait()


def loudest(raw: Path) -> int:
    """Of a file of pcm16."""
    samples = np.frombuffer(raw.read_bytes()[: raw.stat().st_size // 2 * 2], "<i2").astype(int)
    return int(np.abs(samples).max(initial=0))


def test_a_whole_call_over_the_sound_card(server, sound_server, flite_wav, tmp_path):
    raw = tmp_path / "tutor.raw"
    options = ["--rate=24000", "--channels=1", "--format=s16le", "--raw", "--latency-msec=50"]
    with raw.open("wb") as out:
        recorder = subprocess.Popen(["parec", "--device=tutor.monitor", *options], env=sound_server, stdout=out)
    command = [sys.executable, str(ROOT / "run_agent.py"), "talk", "--mic", "--headphones", "--url", server.url]
    terminal = Terminal(command, sound_server)
    try:
        terminal.read(lambda shown: loudest(raw) > 2_000)
        said = flite_wav("Wait a moment, please. My name is Anna, and I live in Berlin.")
        subprocess.run(["paplay", "--device=learner", str(said)], env=sound_server, check=True, timeout=WITHIN_S)
        terminal.read(lambda shown: re.search(r"tutor  [A-Z].* …", shown))
        terminal.read(lambda shown: re.search(r"you  [A-Za-z]", shown))
        terminal.press("q")
        terminal.read(lambda shown: "Report" in shown and "learner words" in shown)
    finally:
        code = terminal.close()
        recorder.terminate()
        recorder.wait(20)
    assert code == 0, terminal.shown[-3000:]


def test_no_sound_card_is_one_line(server):
    import sounddevice

    if len(sounddevice.query_devices()):
        pytest.skip("this machine has a sound card")
    command = [sys.executable, str(ROOT / "run_agent.py"), "talk", "--mic", "--url", server.url]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=WITHIN_S)
    lines = [line for line in done.stderr.decode().splitlines() if not line.startswith("ALSA lib")]
    assert (done.returncode, len(lines)) == (1, 1), lines
    assert lines[0].startswith("talk: no microphone: ")


def test_a_missing_portaudio_says_what_to_install(monkeypatch, capsys):
    from web.talk.terminal import terminal_command

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert terminal_command("http://127.0.0.1:1", None, headphones=True) == 1
    assert capsys.readouterr().err == f"talk: {NO_PORTAUDIO}\n"
    assert "libportaudio2" in NO_PORTAUDIO


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "either --mic or WAV files"),
        (["--mic", "--wav", "a.wav"], "either --mic or WAV files"),
        (["--mic", "--json"], "--json and --out"),
    ],
)
def test_options_that_do_not_go_together(args, says):
    command = [sys.executable, str(ROOT / "run_agent.py"), "talk", *args]
    done = subprocess.run(command, capture_output=True, timeout=WITHIN_S)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_devices_of_another_rate_are_resampled():
    from web.talk.devices import _capturing, _filling

    tone = (8_000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype("<i2")
    captured = bytearray()
    capture = _capturing(captured.extend, 48_000)
    for start in range(0, 48_000, 960):
        capture(tone[start : start + 960].tobytes(), 960, None, None)
    assert len(captured) == pytest.approx(32_000, rel=0.05)
    assert pitch(captured, 16_000) == pytest.approx(440, rel=0.02)

    at, played = 0, bytearray()

    def fill(samples: int) -> bytes:
        nonlocal at
        wave_ = np.sin(2 * np.pi * 440 * np.arange(at, at + samples) / 24_000)
        at += samples
        return (8_000 * wave_).astype("<i2").tobytes()

    play = _filling(fill, 44_100)
    for _ in range(50):
        block = bytearray(2 * 882)
        play(memoryview(block), 882, None, None)
        played += block
    assert pitch(played[8_820:], 44_100) == pytest.approx(440, rel=0.02)
    assert at == pytest.approx(24_000, rel=0.1)


def pitch(pcm16: bytes | bytearray, rate_hz: int) -> float:
    samples = np.frombuffer(bytes(pcm16), "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))
