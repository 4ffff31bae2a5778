"""The process that analyses: reads records and turns from its standard input, writes what it found to its standard output.

When the input closes, because the server closed it or is gone, however it went, the process ends. What is said is described in
``analyst_wire.py``.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import traceback
from typing import BinaryIO

from agent.analysis.insight import insight
from agent.analysis.report import first_report, load
from pipeline.analyst_wire import DONE, FAILED, LENGTH, READY, TURN, unpack, unpack_turn


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer ``requests`` until they end."""
    load()
    answers.write(READY)
    answers.flush()
    while header := requests.read(LENGTH.size):
        data = requests.read(LENGTH.unpack(header)[0])
        try:
            found = insight(unpack_turn(data[1:])) if data[:1] == TURN else first_report(unpack(data[1:]))
            answer = DONE + json.dumps(found, allow_nan=False).encode()
        except Exception:
            answer = FAILED + traceback.format_exc().encode()
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


def main() -> None:
    """Serve the pipes that this process was started with."""
    # What a library prints must not get between the answers.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        try:
            serve(sys.stdin.buffer, answers)
        except (BrokenPipeError, struct.error, EOFError, KeyboardInterrupt):
            os._exit(0)  # the server is gone, and there is nobody left to tell


if __name__ == "__main__":
    main()
