"""A baresip of Debian's as the caller: configured by a folder of the test's, without a sound card, told what to do over TCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.running_server import RunningServer

LIVENESS_S = 60.0
MODULES = ("/usr/lib/baresip/modules", "/usr/local/lib/baresip/modules", "/usr/lib/x86_64-linux-gnu/baresip/modules")
CONFIG = """\
poll_method epoll
sip_listen 127.0.0.1:0
audio_player aufile,{folder}/played.wav
audio_source aufile,{folder}/silence.wav
audio_alert aufile,{folder}/rung.wav
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports 20000-20998
module_path {modules}
module g711.so
module aufile.so
module sndfile.so
snd_path {folder}
module ctrl_tcp.so
ctrl_tcp_listen 127.0.0.1:{control}
module_app account.so
module_app menu.so
"""


class Baresip:
    """One call. What it hears is dumped by its own ``sndfile`` module, behind its decoder."""

    def __init__(self, folder: Path, *, codec: str = "PCMU") -> None:
        self.folder = folder
        self.codec = codec
        self.log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._control: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def prepare(self) -> int:
        """Write the folder and start it. The port at which it takes commands."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            control = int(probe.getsockname()[1])
        modules = next(path for path in MODULES if Path(path).is_dir())
        self.convert(None, "silence.wav")
        (self.folder / "config").write_text(CONFIG.format(folder=self.folder, modules=modules, control=control))
        (self.folder / "accounts").write_text(f"<sip:anna@127.0.0.1>;regint=0;audio_codecs={self.codec}\n")
        (self.folder / "contacts").write_text("")
        with self.log.open("wb") as log:
            command = ["baresip", "-f", str(self.folder)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        return control

    async def start(self) -> None:
        control = await asyncio.to_thread(self.prepare)
        async with asyncio.timeout(LIVENESS_S):
            while self._control is None:
                try:
                    self._control = await asyncio.open_connection("127.0.0.1", control)
                except OSError:
                    await asyncio.sleep(0.1)

    async def do(self, command: str, params: str = "") -> None:
        """One of its commands ("dial", "hangup", "hold", "sndcode"), over a netstring with JSON in it."""
        assert self._control is not None
        data = json.dumps({"command": command, "params": params}).encode()
        self._control[1].write(b"%d:%s," % (len(data), data))
        await self._control[1].drain()

    def convert(self, wav: Path | None, name: str) -> Path:
        """A WAV at the telephone's rate, with silence behind it."""
        source = ["-i", str(wav)] if wav is not None else ["-f", "lavfi", "-t", "1", "-i", "anullsrc=r=8000:cl=mono"]
        made = self.folder / name
        subprocess.run(
            ["ffmpeg", "-loglevel", "error", "-y", *source, "-af", "apad=pad_dur=120", "-ar", "8000", "-ac", "1", str(made)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return made

    async def say(self, wav: Path) -> None:
        """Put a recording in the microphone's place."""
        await self.do("ausrc", f"aufile,{await asyncio.to_thread(self.convert, wav, 'voice.wav')}")

    @property
    def samples(self) -> np.ndarray:
        """What was heard, as far as the dumps have been written; it begins another one after each change of the call."""
        dumps = sorted(self.folder.glob("dump-*-dec.wav"))
        data = b"".join(content[44 : len(content) // 2 * 2] for dump in dumps if len(content := dump.read_bytes()) > 44)
        return np.frombuffer(data, np.int16)

    @property
    def voiced_s(self) -> float:
        pcm = self.samples.astype(np.float32)
        whole = pcm[: len(pcm) // 160 * 160].reshape(-1, 160)
        return float((np.sqrt((whole**2).mean(axis=1)) > 200).sum() * 0.02)

    async def until_said(self, pattern: str) -> None:
        """Until its log has ``pattern``."""
        await self.until(lambda: re.search(pattern, self.log.read_text(errors="replace")), f"baresip says {pattern!r}")

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        try:
            async with asyncio.timeout(LIVENESS_S):
                while not condition():  # noqa: ASYNC110 - what is waited for has no event
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{what}: not in time\n{self.log.read_text(errors='replace')[-2000:]}") from None

    async def stop(self) -> None:
        if self._control is not None:
            self._control[1].close()
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 20)


@contextlib.asynccontextmanager
async def calling(folder: Path, server: RunningServer, port: int, **options: Any) -> AsyncIterator[Baresip]:
    """A baresip that has dialled and was answered."""
    caller = Baresip(folder, **options)
    try:
        await caller.start()
        await caller.do("dial", f"sip:100@127.0.0.1:{port}")
        await caller.until_said("Call established")
        yield caller
    finally:
        await caller.stop()
