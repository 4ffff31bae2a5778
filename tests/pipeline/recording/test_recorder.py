"""A session's recorder and the archive: real files, a real thread."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipeline.recording import files
from pipeline.recording.archive import DAY_S, Archive
from pipeline.recording.recorder import SessionRecorder
from pipeline.settings.tree import RecordingSettings

AMPLITUDE = 8_000
ROOT = Path(__file__).resolve().parents[3]


def tone(rate_hz: int, seconds: float, hz: float = 1_000.0) -> bytes:
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    return (AMPLITUDE * np.sin(2 * np.pi * hz * t)).astype(np.int16).tobytes()


def feed(recorder: SessionRecorder, voice: str, pcm16: bytes, at: float) -> None:
    rate_hz = files.RATES_HZ[voice]  # type: ignore[index]
    step = rate_hz // 50 * 2
    for n, start in enumerate(range(0, len(pcm16), step)):
        recorder.add(voice, pcm16[start : start + step], at + n * 0.02)  # type: ignore[arg-type]


def voiced(channel: np.ndarray, rate_hz: int) -> tuple[float, float]:
    """First and last sample over a tenth of the tone, in seconds."""
    loud = np.flatnonzero(np.abs(channel) > AMPLITUDE / 10 / 32768)
    return loud[0] / rate_hz, loud[-1] / rate_hz


def level_db(channel: np.ndarray, rate_hz: int, start_s: float, end_s: float) -> float:
    part = channel[int(start_s * rate_hz) : int(end_s * rate_hz)]
    return float(20 * np.log10(np.sqrt(np.mean(part**2)) / (AMPLITUDE / 32768 / np.sqrt(2))))


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, RecordingSettings(enabled=True))


@pytest.mark.parametrize("form", ["flac", "opus"])
async def test_both_tones_come_out_at_their_place_and_level(tmp_path, form):
    archive = Archive(tmp_path, RecordingSettings(enabled=True, format=form))
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    recorder._clock = lambda: 50.0
    recorder._wall = lambda: 1_000_000.0
    feed(recorder, "tutor", tone(24_000, 1.0), 50.5)
    feed(recorder, "learner", tone(16_000, 1.0), 52.0)
    feed(recorder, "tutor", tone(24_000, 0.5), 54.0)
    await recorder.close()
    await archive.finish("abc")
    found = await archive.find("abc")
    assert found is not None
    assert found.started_at == 1_000_000.0
    assert not list(found.path.parent.glob("*.pcm"))
    audio, rate_hz = soundfile.read(found.path)
    assert audio.shape[1] == 2
    for channel, start, end in ((0, 2.0, 3.0), (1, 0.5, 4.5)):
        first, last = voiced(audio[:, channel], rate_hz)
        assert abs(first - start) < 0.04
        assert abs(last - end) < 0.04
    assert abs(level_db(audio[:, 0], rate_hz, 2.2, 2.8)) < 1
    assert abs(level_db(audio[:, 1], rate_hz, 0.7, 1.3)) < 1
    assert np.abs(audio[int(1.6 * rate_hz) : int(1.9 * rate_hz), 1]).max() < 0.01
    assert np.abs(audio[int(0.2 * rate_hz) : int(1.9 * rate_hz), 0]).max() < 0.01


async def test_without_sound_there_is_no_file(archive):
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    await recorder.close()
    assert await archive.finish("abc") is None
    assert not archive.folder.exists()


async def test_files_are_for_their_owner_only(archive):
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    feed(recorder, "learner", tone(16_000, 0.1), 1.0)
    await recorder.close()
    assert (archive.folder / "abc").stat().st_mode & 0o077 == 0


CRASH = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from pipeline.recording.archive import Archive
    from pipeline.settings.tree import RecordingSettings
    import numpy as np
    async def main():
        recorder = Archive(Path(sys.argv[1]), RecordingSettings(enabled=True)).begin("crashed", print)
        recorder._clock = lambda: 10.0
        pcm = (8000 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.int16).tobytes()
        for n in range(50):
            recorder.add("learner", pcm[n * 640 : n * 640 + 640], 10.0 + n * 0.02)
        while recorder._queue.qsize():
            await asyncio.sleep(0.01)
        print("written", flush=True)
        await asyncio.sleep(60)
    asyncio.run(main())
"""


async def test_what_a_killed_process_left_is_finished_by_the_next_one(archive):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", textwrap.dedent(CRASH), str(archive.folder.parent)),
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    while b"written" not in (line := await process.stdout.readline()):
        assert line
    # As long as that process lives, its recording is not touched.
    assert await archive.find("crashed") is None
    assert files.has_tracks(archive.folder / "crashed")
    process.kill()
    await process.wait()
    archive.start()
    for _ in range(500):
        if files.finished(archive.folder / "crashed"):
            break
        await asyncio.sleep(0.02)
    await archive.close()
    found = await archive.find("crashed")
    assert found is not None
    audio, rate_hz = soundfile.read(found.path)
    assert abs(len(audio) / rate_hz - 1.0) < 0.05
    assert abs(level_db(audio[:, 0], rate_hz, 0.2, 0.8)) < 1


async def test_a_full_disk_stops_the_recording_and_says_so_once(archive):
    reasons: list[str] = []
    recorder = archive.begin("abc", reasons.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # a write past that fails as on a full disk
        feed(recorder, "learner", tone(16_000, 2.0), 1.0)
        for _ in range(500):
            if reasons:
                break
            await asyncio.sleep(0.01)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert len(reasons) == 1
    feed(recorder, "learner", tone(16_000, 2.0), 3.0)
    await recorder.close()
    assert len(reasons) == 1
    found = await archive.find("abc") or await archive.finish("abc")
    assert found is not None, "what was written before is kept"


async def test_a_disk_that_stands_still_costs_sound_and_nothing_else(archive, monkeypatch):
    monkeypatch.setattr("pipeline.recording.recorder.QUEUE_PIECES", 10)
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    gate, write = threading.Event(), recorder._write
    monkeypatch.setattr(recorder, "_write", lambda: (gate.wait(), write()))
    feed(recorder, "learner", tone(16_000, 1.0), 1.0)
    assert recorder.dropped == 40
    # Nor does the call's end wait for it; what was taken is written once the disk moves again.
    monkeypatch.setattr("pipeline.recording.recorder.CLOSE_TIMEOUT_S", 0.05)
    monkeypatch.setattr("pipeline.recording.recorder.POLL_S", 0.05)
    thread = recorder._thread
    assert thread is not None
    await recorder.close()
    assert thread.is_alive()
    gate.set()
    await asyncio.to_thread(thread.join, 10)
    assert await archive.finish("abc") is not None


def kept(archive: Archive, name: str, started_at: float, size: int = 50_000) -> None:
    folder = archive.folder / name
    folder.mkdir(parents=True)
    files.About(started_at).write(folder)
    (folder / "recording.flac").write_bytes(os.urandom(size))


def test_old_recordings_and_the_oldest_of_too_many_are_deleted(tmp_path):
    archive = Archive(tmp_path, RecordingSettings(enabled=True, keep_days=10))
    for age in (1, 9, 11, 400):
        kept(archive, f"age-{age}", 1e9 - age * DAY_S)
    assert sorted(archive.apply_limits(1e9)) == ["age-11", "age-400"]
    few = Archive(tmp_path, RecordingSettings(enabled=True, max_bytes=60_000))
    assert few.apply_limits(1e9) == ["age-9"]
    assert [path.name for path in few.folder.iterdir()] == ["age-1"]
    assert Archive(tmp_path, RecordingSettings()).apply_limits(1e9) == [], "without limits all is kept"


@pytest.mark.parametrize("set_by", [-2 * DAY_S, -3600.0, 3600.0, 400 * DAY_S])
async def test_a_clock_that_is_set_deletes_nothing_early(tmp_path, monkeypatch, set_by):
    true = time.time
    archive = Archive(tmp_path, RecordingSettings(enabled=True, keep_days=1))
    kept(archive, "young", true() - DAY_S + 1800)
    kept(archive, "old", true() - DAY_S - 1800)
    monkeypatch.setattr(time, "time", lambda: true() + set_by)
    archive.start()
    for _ in range(100):
        if set_by > 0 and not (archive.folder / "old").exists():
            break
        await asyncio.sleep(0.01)
    await archive.close()
    assert (archive.folder / "young").exists()
    assert (archive.folder / "old").exists() is (set_by < 0), "late is not too late"


async def test_a_running_session_is_neither_deleted_nor_finished(tmp_path):
    archive = Archive(tmp_path, RecordingSettings(enabled=True, keep_days=1))
    recorder = archive.begin("live", lambda reason: pytest.fail(reason))
    feed(recorder, "learner", tone(16_000, 0.2), 1.0)
    assert archive.apply_limits(1e12) == []
    assert await archive.find("live") is None
    await recorder.close()
    assert await archive.finish("live") is not None
    assert archive.apply_limits(1e12) == ["live"]


async def test_a_recording_is_dropped_with_all_its_files(archive):
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    feed(recorder, "tutor", tone(24_000, 0.2), 1.0)
    await recorder.close()
    await archive.finish("abc")
    await archive.drop("abc")
    assert not (archive.folder / "abc").exists()
    await archive.drop("abc")


async def test_ids_are_never_paths(archive):
    for odd in ("..", "a/b", "", "x" * 65, "."):
        assert await archive.find(odd) is None


async def test_a_damaged_note_is_no_obstacle(archive):
    recorder = archive.begin("abc", lambda reason: pytest.fail(reason))
    feed(recorder, "learner", tone(16_000, 0.2), 1.0)
    await recorder.close()
    for text in ("", "{", "[]", json.dumps({"started_at": None})):
        (archive.folder / "abc" / files.ABOUT).write_text(text)
        assert files.About.read(archive.folder / "abc") is None
    assert await archive.finish("abc") is not None
    assert (await archive.find("abc")) is not None
