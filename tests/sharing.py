"""Which test files the processes of pytest-xdist take, and in which order.

Files are given out whole (as with ``--dist loadfile``), so that one server serves a file. The longest come first: whoever takes
a long one last keeps the others waiting. Where more processes share the tests than ``REAL_TIME_AT_ONCE``, so many of them at
most are in files that talk in real time; the rest have those that only compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xdist.scheduler import LoadFileScheduling

REAL_TIME = (
    "tests/bench/",
    "tests/calls/",
    "tests/e2e/",
    "tests/evals/",
    "tests/pipeline/transports/",
    "tests/test_contributing.py",
    *(f"tests/web/{name}" for name in ("abuse/", "phone/", "realtime/", "rtvi/", "talk/", "test_")),
)
"""What talks in real time: where too many do at once, they starve each other, and a packet is late that no code made late."""

REAL_TIME_AT_ONCE = 3

SECONDS = {
    "tests/pipeline/stt/test_decoder.py": 220,
    "tests/calls/test_troubles.py": 170,
    "tests/e2e/test_page.py": 170,
    "tests/calls/test_real_engines.py": 160,
    "tests/web/phone/test_real_call.py": 140,
    "tests/calls/test_robust.py": 130,
    "tests/pipeline/llm/test_transformers.py": 110,
    "tests/test_contributing.py": 90,
    "tests/web/cli/test_commands.py": 90,
    "tests/web/phone/test_carriers_real_calls.py": 80,
    "tests/calls/test_language_model.py": 70,
    "tests/bench/test_engine.py": 60,
    "tests/calls/test_faults.py": 60,
    "tests/e2e/test_heard.py": 60,
    "tests/pipeline/stt/test_pool.py": 60,
    "tests/web/abuse/test_dropped_at_each_door.py": 60,
    "tests/web/abuse/test_fuzz_data_channel.py": 60,
    "tests/web/abuse/test_fuzz_websocket.py": 60,
    "tests/web/abuse/test_many_connections.py": 60,
    "tests/web/cli/test_lesson_option.py": 60,
    "tests/web/phone/test_audiosocket_call.py": 60,
    "tests/web/phone/test_twilio_call.py": 60,
    "tests/web/realtime/test_agents_sdk.py": 60,
    "tests/web/realtime/test_instructions.py": 60,
    "tests/web/realtime/test_openai_client.py": 60,
    "tests/web/realtime/test_out_of_band.py": 60,
    "tests/web/rtvi/test_rtvi_fuzz.py": 60,
    "tests/web/talk/test_terminal.py": 60,
    "tests/web/test_websocket_abuse.py": 60,
    "tests/evals/test_calls.py": 50,
    "tests/web/phone/test_outbound.py": 50,
    "tests/web/rtvi/test_rtvi_browser.py": 50,
    "tests/e2e/test_history.py": 40,
    "tests/e2e/test_unloaded.py": 40,
    "tests/evals/test_evals.py": 40,
    "tests/pipeline/stt/test_kyutai_troubles.py": 40,
    "tests/pipeline/transports/webrtc/test_webrtc_call.py": 40,
    "tests/pipeline/tts/test_kyutai_engine.py": 40,
    "tests/test_wheel.py": 40,
    "tests/web/abuse/test_fuzz_http.py": 40,
    "tests/web/cli/test_engine_commands.py": 40,
    "tests/web/phone/sip/test_sip_baresip.py": 40,
    "tests/web/phone/sip/test_sip_calls.py": 40,
    "tests/web/phone/sip/test_sip_sipp.py": 40,
    "tests/web/phone/test_carriers_calls.py": 40,
    "tests/web/phone/test_real_audiosocket.py": 40,
    "tests/web/realtime/test_calls.py": 40,
    "tests/web/rtvi/test_rtvi_functions.py": 40,
    "tests/web/rtvi/test_rtvi_sdk.py": 40,
    "tests/web/test_headroom.py": 40,
    "tests/bench/test_oracle.py": 30,
    "tests/calls/test_barge.py": 30,
    "tests/calls/test_conversation.py": 30,
    "tests/calls/test_kyutai_tts.py": 30,
    "tests/calls/test_real_voices.py": 30,
    "tests/calls/test_recording.py": 30,
    "tests/e2e/test_realtime_sdk.py": 30,
    "tests/pipeline/stt/test_kyutai_engine.py": 30,
    "tests/pipeline/tts/test_kyutai_service.py": 30,
    "tests/web/realtime/test_conformance.py": 30,
    "tests/web/rtvi/test_rtvi_webrtc.py": 30,
    "tests/web/test_guard.py": 30,
    "tests/web/test_websocket_door.py": 30,
    "tests/bench/test_guided.py": 20,
    "tests/bench/test_load.py": 20,
    "tests/bench/test_net.py": 20,
    "tests/calls/test_guesses.py": 20,
    "tests/calls/test_kyutai_stt.py": 20,
    "tests/calls/test_max_length.py": 20,
    "tests/calls/test_patient.py": 20,
    "tests/e2e/test_options.py": 20,
    "tests/pipeline/engine_manager/test_processes.py": 20,
    "tests/pipeline/stt/test_acoustic_model.py": 20,
    "tests/test_docs.py": 20,
    "tests/web/rtvi/test_rtvi_door.py": 20,
    "tests/web/test_barge_in.py": 20,
    "tests/web/test_webrtc_door.py": 20,
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
