"""Answers from a language model in a process beside this one: the client of ``engines.llm.worker``, which says how."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from loguru import logger

from agent.tutor import Message
from pipeline.llm.chat import ChatFailed, ChatRequest
from pipeline.settings.tree import TransformersSettings

_ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 2.0
DEFAULT_MODEL_LEN = 4096
SILENT_S = 30.0
"""A process that does not come to its next token for so long is held to be stuck."""


class WorkerChat:
    """One process with one model, for all calls; they take turns, token by token. One that died is started again."""

    def __init__(self, settings: TransformersSettings) -> None:
        self._settings = settings
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[dict[str, Any]]] = {}
        self._worker: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._open = False
        self._shared: Sequence[Message] = ()
        self.max_model_len: int | None = None
        """Tokens that the model can look back on, once it is loaded."""

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._worker.pid if self._worker is not None and self._worker.returncode is None else None

    async def load(self) -> None:
        """Start the process; returns when its model is loaded.

        Raises:
            ValueError: ``llm.transformers.model`` names none.
            ChatFailed: it did not come up.
        """
        if not self._settings.model:
            raise ValueError("llm.transformers.model: names no model")
        self._open = True
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End the process."""
        self._open = False
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        await self._end()

    async def warm(self, messages: Sequence[Message]) -> None:
        """Read a prompt beforehand, for every conversation that will begin like it, and after a new start too.

        Raises:
            ChatFailed: as ``stream``.
        """
        self._shared = messages
        async with aclosing(self._answer(ChatRequest(messages, max_tokens=1), warm=True)) as pieces:
            async for _ in pieces:
                pass

    async def stream(self, request: ChatRequest) -> AsyncGenerator[str, None]:
        """As ``ChatSource.stream``."""
        async with aclosing(self._answer(request)) as pieces:
            async for piece in pieces:
                yield piece

    async def _answer(self, request: ChatRequest, *, warm: bool = False) -> AsyncGenerator[str, None]:
        if self.pid is None or self.max_model_len is None:
            self._restart()
            raise ChatFailed("the language model's process is not running", absent=True)
        key = next(self._ids)
        answer = self._answers[key] = asyncio.Queue()
        whole = False
        try:
            self._send(
                {
                    "id": key,
                    "messages": list(request.messages),
                    "max_tokens": request.max_tokens,
                    "temperature": request.temperature,
                    "top_p": request.top_p,
                    "stop": list(request.stop),
                    "warm": warm,
                }
            )
            while not whole:
                try:
                    message = await asyncio.wait_for(answer.get(), SILENT_S)
                except TimeoutError:
                    raise ChatFailed("the language model's process has gone silent") from None
                whole = "done" in message or "error" in message
                if "error" in message:
                    raise ChatFailed(f"the language model's process failed: {message['error']}")
                if "prompt_tokens" in message and request.on_prompt_tokens is not None:
                    request.on_prompt_tokens(message["prompt_tokens"])
                if message.get("text"):
                    yield message["text"]
        finally:
            del self._answers[key]
            if not whole:
                self._send({"cancel": key})

    def _send(self, message: dict[str, Any]) -> None:
        if self._worker is not None and self._worker.stdin is not None and not self._worker.stdin.is_closing():
            self._worker.stdin.write(json.dumps(message).encode() + b"\n")

    async def _start(self) -> None:
        wanted = self._settings
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self.max_model_len = None
        try:
            self._worker = await asyncio.create_subprocess_exec(
                wanted.python or sys.executable,
                *("-P", "-m", "engines.llm.worker", "--model", wanted.model, "--device", wanted.device),
                *("--dtype", wanted.dtype, "--threads", str(wanted.threads)),
                stdin=PIPE,
                stdout=PIPE,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C ends it by way of this process.
                start_new_session=True,
            )
        except OSError as e:
            raise ChatFailed(
                f"llm.transformers.python: {wanted.python or sys.executable} cannot be run: {e}", absent=True
            ) from e
        assert self._worker.stdout is not None
        try:
            async with asyncio.timeout(wanted.start_timeout_s):
                line = await self._worker.stdout.readline()
        except TimeoutError:
            raise ChatFailed(f"the language model was not loaded within {wanted.start_timeout_s:g} s", absent=True) from None
        if not line:
            code = await self._worker.wait()
            raise ChatFailed(
                f"the language model's process ended with {code} before it was ready; its reasons are in the log", absent=True
            )
        first = json.loads(line)
        if "failed" in first:
            await self._worker.wait()
            raise ChatFailed(f"the language model {wanted.model} cannot be loaded: {first['failed'][:300]}", absent=True)
        self.max_model_len = first["ready"]["max_model_len"] or DEFAULT_MODEL_LEN
        self._reading = asyncio.create_task(self._read(self._worker), name="llm-worker")

    async def _read(self, worker: Process) -> None:
        assert worker.stdout is not None
        while line := await worker.stdout.readline():
            message = json.loads(line)
            answer = self._answers.get(message["id"])
            if answer is not None:
                answer.put_nowait(message)
        for answer in self._answers.values():
            answer.put_nowait({"error": "it ended"})
        if self._open:
            logger.error("the language model's process ended")
            self._restart()

    def _restart(self) -> None:
        if self._open and (self._starting is None or self._starting.done()):
            self._starting = asyncio.create_task(self._started_again(), name="llm-worker-starts")

    async def _started_again(self) -> None:
        await self._end()
        try:
            await self._start()
            if self._shared:
                await self.warm(self._shared)
        except ChatFailed as e:
            logger.error("{}", e)

    async def _end(self) -> None:
        worker, self._worker = self._worker, None
        reading, self._reading = self._reading, None
        self.max_model_len = None
        if worker is not None:
            if worker.stdin is not None:
                worker.stdin.close()
            try:
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await worker.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()
                await worker.wait()
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
