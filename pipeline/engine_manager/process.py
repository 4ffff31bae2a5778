"""One process of an engine, behind its keeper (``keeper.py``)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.engine_manager import keeper
from pipeline.engine_manager.progress import Lines

_KEEPER = str(Path(keeper.__file__).resolve())
_MARGIN_S = 8.0
"""What the keeper may need beyond the engine's own time, to sweep up what the engine left."""


class EngineProcess:
    """A command that runs until it ends, is stopped, or the server ends.

    ``on_line(line, is_moving)`` is told every line that it writes, to whichever stream; a moving one will be written over.
    """

    def __init__(self, process: Process, grace_s: float, on_line: Callable[[str, bool], None]) -> None:
        self._process = process
        self._grace_s = grace_s
        self._on_line = on_line
        self._reading = asyncio.create_task(self._read(), name=f"engine output {process.pid}")

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        on_line: Callable[[str, bool], None],
        *,
        grace_s: float,
        cwd: Path | None = None,
    ) -> EngineProcess:
        """Start ``command``. What cannot be started shows by its end, with the reason as its only line.

        Must be called from the thread that the server lives in: the keeper takes that thread's end for the server's.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", _KEEPER, str(os.getpid()), str(grace_s), *command),
            stdin=PIPE,
            stdout=PIPE,
            stderr=STDOUT,
            env=dict(env),
            cwd=cwd,
            # Ctrl-C in a terminal goes to every process of the terminal's group; the server ends its engines itself.
            start_new_session=True,
        )
        return cls(process, grace_s, on_line)

    @property
    def pid(self) -> int:
        """The keeper's process id; the engine is its child."""
        return self._process.pid

    async def wait(self) -> int:
        """The exit code, when it has ended and all that it wrote was read."""
        code = await self._process.wait()
        # What a descendant that could not be killed holds open is not waited for.
        await asyncio.wait([self._reading], timeout=1.0)
        self._reading.cancel()
        return code

    async def stop(self) -> None:
        """End it with all its processes: in order if it can, by force after its time. Safe to call twice."""
        if self._process.returncode is None and self._process.stdin is not None:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), self._grace_s + _MARGIN_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
        await self.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        lines = Lines()
        while data := await self._process.stdout.read(65_536):
            for line, moving in lines.feed(data):
                self._on_line(line, moving)
        if rest := lines.rest():
            self._on_line(rest, False)
