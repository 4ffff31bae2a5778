"""Which test files the processes of pytest-xdist take, and in which order.

Files are given out whole (as with ``--dist loadfile``), so that one server serves a file. The longest come first: whoever takes
a long one last keeps the others waiting. Where more processes share the tests than ``REAL_TIME_AT_ONCE``, so many of them at
most are in files that talk in real time; the rest have those that only compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xdist.scheduler import LoadFileScheduling

REAL_TIME = ("tests/calls/", "tests/e2e/", "tests/evals/", "tests/web/", "tests/bench/", "tests/pipeline/transports/")
"""Folders of calls in real time: where too many at once starve each other, a packet is late that no code made late."""

REAL_TIME_AT_ONCE = 3

SECONDS = {
    "tests/calls/test_language_model.py": 120,
    "tests/calls/test_faults.py": 90,
    "tests/calls/test_real_voices.py": 80,
    "tests/bench/test_engine.py": 80,
    "tests/web/phone/test_real_call.py": 80,
    "tests/web/phone/test_carriers_real_calls.py": 80,
    "tests/web/rtvi/test_rtvi_sdk.py": 80,
    "tests/pipeline/stt/test_decoder.py": 80,
    "tests/calls/test_conversation.py": 60,
    "tests/bench/test_guided.py": 60,
    "tests/calls/test_patient.py": 40,
    "tests/calls/test_barge.py": 50,
    "tests/bench/test_oracle.py": 40,
    "tests/calls/test_kyutai_tts.py": 40,
    "tests/calls/test_max_length.py": 40,
    "tests/calls/test_recording.py": 30,
    "tests/bench/test_net.py": 25,
    "tests/bench/test_load.py": 25,
    "tests/calls/test_kyutai_stt.py": 25,
    "tests/calls/test_guesses.py": 25,
    "tests/bench/test_dialogue.py": 20,
    "tests/bench/test_parley_server.py": 20,
}
"""Roughly how long the files take that need more than 15 s. Only the order rests on it: a wrong figure fails nothing."""


def keeps_real_time(file: str) -> bool:
    """Whether the file's tests talk in real time."""
    return file.startswith(REAL_TIME)


class LongestFirst(LoadFileScheduling):
    """Hands out the longest file that may run now; to a process that may have none of those left, nothing more."""

    def _allowed(self, node: Any) -> Iterator[str]:
        """Files in the queue that this process may take now."""
        busy = sum(self._in_real_time(other) for other in self.assigned_work if other is not node)
        return (file for file in self.workqueue if busy < REAL_TIME_AT_ONCE or not keeps_real_time(file))

    def _in_real_time(self, node: Any) -> bool:
        """Whether tests that this process still has before it talk in real time."""
        return any(keeps_real_time(file) and not all(tests.values()) for file, tests in self.assigned_work[node].items())

    def _assign_work_unit(self, node: Any) -> None:
        # Also at the start, where each has a share whatever is left: there are files that only compute.
        file = max(self._allowed(node), key=lambda file: (SECONDS.get(file, 0), len(self.workqueue[file])), default=None)
        if file is not None:
            self.workqueue.move_to_end(file, last=False)
            super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if not node.shutting_down and self.workqueue and next(self._allowed(node), None) is None:
            # The others have the rest in hand, and at least one of them has not ended.
            node.shutdown()
        else:
            super()._reschedule(node)
