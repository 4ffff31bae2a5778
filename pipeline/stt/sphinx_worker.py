"""The worker process of the embedded recogniser: reads audio from its socket, writes partials and finals.

pocketsphinx holds the GIL while it decodes, so it has a process of its own. The worker decodes in chunks of ``CHUNK_S`` and
looks at its socket between them, which is how a cancelled utterance stops within one chunk. When the socket closes, because the
pool closed it or its process is gone, however it went, the worker ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from pipeline.stt.recognition import Abandoned
from pipeline.stt.sphinx_wire import Kind, pack, unpack

if TYPE_CHECKING:
    from pipeline.stt.sphinx_decoder import SphinxDecoder

PARTIAL_INTERVAL_S = 0.2
_READ_BYTES = 1 << 16


def run(pool: socket.socket) -> None:
    """Serve ``pool`` until it closes. The target of the worker process."""
    # Ctrl-C reaches the whole process group; the pool decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # one core a worker, where the fork server has not said so already
    # Not at the top: the program that starts workers names this function and has no use for pocketsphinx itself.
    from pipeline.stt.sphinx_decoder import is_loaded, shared

    started, preloaded = time.monotonic(), is_loaded()
    try:
        worker = _Worker(pool, shared())
        worker.send(Kind.READY, 0, {"preloaded": preloaded, "load_s": round(time.monotonic() - started, 3)})
        worker.serve()
    except (EOFError, ConnectionError):
        pass
    finally:
        pool.close()


class _Worker:
    def __init__(self, pool: socket.socket, decoder: SphinxDecoder) -> None:
        self._pool = pool
        self._decoder = decoder
        self._buffer = bytearray()
        self._utterance: int | None = None
        self._finishing = False
        self._partials = True
        self._partial = ""
        self._partial_at = 0.0

    def send(self, kind: Kind, utterance: int, body: dict[str, object]) -> None:
        self._pool.sendall(pack(kind, utterance, body))

    def serve(self) -> None:
        """Raises ``EOFError`` when the pool is gone."""
        busy = False
        while True:
            self._receive(block=not busy)
            busy = self._work()

    def _receive(self, *, block: bool) -> None:
        while block or select.select([self._pool], [], [], 0)[0]:
            data = self._pool.recv(_READ_BYTES)
            if not data:
                raise EOFError
            self._buffer += data
            block = False
            while message := unpack(self._buffer):
                self._handle(*message)

    def _handle(self, kind: Kind, utterance: int, body: bytes) -> None:
        if kind is Kind.OPEN:
            options = json.loads(body)
            self._utterance, self._finishing = utterance, False
            self._partials, self._partial = options["partials"], ""
            self._decoder.begin(options["expected"], options["careful"])
        elif utterance != self._utterance:
            return
        elif kind is Kind.AUDIO:
            self._decoder.feed(body)
        elif kind is Kind.FINISH:
            self._finishing = True
        elif kind is Kind.CANCEL:
            self._utterance = None
            self._decoder.abandon()

    def _work(self) -> bool:
        """Do one piece of work; false where there is none until more arrives."""
        if self._utterance is None:
            return False
        try:
            if self._finishing:
                self._finish(self._utterance)
                return False
            if not self._decoder.step():
                return False
            self._report(self._utterance)
            return True
        except Abandoned:
            return True
        except (EOFError, ConnectionError):
            raise
        except Exception as e:  # one utterance that pocketsphinx cannot take must not cost the worker
            utterance, self._utterance = self._utterance, None
            if utterance is not None:
                self.send(Kind.FAILED, utterance, {"reason": f"{type(e).__name__}: {e}"})
            return False

    def _report(self, utterance: int) -> None:
        now = time.monotonic()
        self.send(Kind.PROGRESS, utterance, {})
        if self._partials and now - self._partial_at >= PARTIAL_INTERVAL_S:
            text = self._decoder.partial()
            if text and text != self._partial:
                self._partial, self._partial_at = text, now
                self.send(Kind.PARTIAL, utterance, {"text": text})

    def _finish(self, utterance: int) -> None:
        def wanted() -> bool:
            self._receive(block=False)
            return self._utterance == utterance

        result = self._decoder.finish(wanted)
        self._utterance, self._finishing = None, False
        self.send(Kind.FINAL, utterance, result.to_dict())
        self._decoder.abandon()  # what is left to be done takes no time from the final
