"""The process's metrics for ``/metrics``. Histograms are in seconds, as Prometheus asks."""

from __future__ import annotations

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from agent.record import TurnMetrics

REGISTRY = CollectorRegistry(auto_describe=True)
_LATENCY_BUCKETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


def _histogram(name: str, text: str, buckets: tuple[float, ...] = _LATENCY_BUCKETS, **kwargs: Any) -> Histogram:
    return Histogram(name, text, buckets=buckets, registry=REGISTRY, **kwargs)


VOICE_TO_VOICE = _histogram(
    "parley_voice_to_voice_seconds", "Last voiced sample of the learner to first voiced packet sent", labelnames=["door"]
)
HEARD = _histogram(
    "parley_voice_to_heard_seconds", "Last voiced sample of the learner to playout, by the client's report", labelnames=["door"]
)
BARGE_IN = _histogram(
    "parley_barge_in_seconds", "First voiced sample over the tutor to its last voiced packet", labelnames=["door"]
)
STAGE = _histogram("parley_stage_seconds", "Time from the stage before (see TurnMetrics)", labelnames=["stage"])
LOOP_LAG = _histogram("parley_event_loop_lag_seconds", "How late a timer of the event loop fired", buckets=_LAG_BUCKETS)
HEADROOM = Gauge("parley_headroom", "What is left before calls are refused: 1 all, 0 nothing", registry=REGISTRY)
ADMITS = Gauge(
    "parley_headroom_admits", "Whether there is headroom for a further call (1) or calls are refused (0)", registry=REGISTRY
)
LOOP_LAG_P99 = Gauge("parley_headroom_loop_lag_p99_seconds", "Event loop lag over the last 10 s", registry=REGISTRY)
PACKET_LATE_P99 = Gauge(
    "parley_headroom_packet_late_p99_seconds", "How late the tutor's packets left over the last 10 s", registry=REGISTRY
)
ACTIVE_CALLS = Gauge("parley_active_calls", "Calls with a client attached", registry=REGISTRY)
DETACHED_CALLS = Gauge("parley_detached_calls", "Calls that wait for their client", registry=REGISTRY)
CALLS = Counter("parley_calls", "Calls begun", ["door"], registry=REGISTRY)
CALLS_ENDED = Counter("parley_calls_ended", "Calls ended", ["reason"], registry=REGISTRY)
REFUSED = Counter("parley_calls_refused", "Calls refused for want of capacity", ["by"], registry=REGISTRY)
PHONE_REFUSED = Counter(
    "parley_phone_refused",
    "Requests and streams of carriers that were refused: for their signature, their token, or what they sent",
    ["carrier", "why"],
    registry=REGISTRY,
)
TURNS = Counter("parley_turns", "Finished turns", ["role"], registry=REGISTRY)
INTERRUPTIONS = Counter("parley_interruptions", "Replies of the tutor that were interrupted", registry=REGISTRY)
SPECULATIONS = Counter(
    "parley_speculations",
    "Answers begun before the turn was surely over: confirmed, withdrawn, or refused for want of headroom",
    ["outcome"],
    registry=REGISTRY,
)
SPECULATION_WASTED_TOKENS = Counter(
    "parley_speculation_wasted_tokens", "Pieces of text that the tutor's model wrote for withdrawn answers", registry=REGISTRY
)
BARGE_IN_VERDICTS = Counter(
    "parley_barge_in_verdicts",
    "Voices over the tutor: real (interrupted it), or let it go on as noise, backchannel or echo",
    ["verdict"],
    registry=REGISTRY,
)
FAULTS = Counter("parley_faults", "Stages that failed or stalled in a call", ["stage", "kind"], registry=REGISTRY)
ERRORS = Counter("parley_errors", "Errors by stage", ["stage"], registry=REGISTRY)
RECEIVED = Counter(
    "parley_received_packets",
    "WebRTC learners' audio packets: received (all that came), lost (given up), late (came after that), duplicate, undecodable",
    ["fate"],
    registry=REGISTRY,
)
MADE_UP = Counter(
    "parley_received_made_up_seconds",
    "Learners' audio that did not arrive: concealed (continued from before, or silence) or fec (restored from a later packet)",
    ["by"],
    registry=REGISTRY,
)
JITTER_WAIT = _histogram(
    "parley_jitter_wait_seconds",
    "How long a missing packet is waited for; sampled four times a second in each WebRTC call",
    buckets=(0.01, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.5, 1.0),
)

STAGES = ("user_stop", "eot", "stt_final", "llm_first_token", "llm_first_sentence", "tts_first_audio", "sent")


class RowExporter:
    """Feeds one call's rows to the histograms, each value of a row once although a row is handed out several times."""

    def __init__(self, door: str) -> None:
        self._door = door
        self._seen: set[tuple[int, str]] = set()

    def export(self, row: TurnMetrics) -> None:
        """Observe what is new in ``row``."""
        if row.v2v_ms is not None and self._once(row, "v2v"):
            VOICE_TO_VOICE.labels(self._door).observe(max(0.0, row.v2v_ms / 1000))
            for stage, seconds in stage_seconds(row).items():
                STAGE.labels(stage).observe(seconds)
        if row.heard is not None and row.user_stop is not None and self._once(row, "heard"):
            HEARD.labels(self._door).observe(max(0.0, (row.heard - row.user_stop) / 1000))
        if row.barge_in_ms is not None and self._once(row, "barge_in"):
            BARGE_IN.labels(self._door).observe(max(0.0, row.barge_in_ms / 1000))

    def _once(self, row: TurnMetrics, what: str) -> bool:
        key = (row.turn, what)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


def stage_seconds(row: TurnMetrics) -> dict[str, float]:
    """Each stage's own share: the time since the stage that was reached just before it. Their sum is voice-to-voice.

    Stages are taken in the order in which they were reached: the final words may come before or after the decision.
    """
    reached = sorted((at, stage) for stage in STAGES[1:] if (at := getattr(row, stage)) is not None)
    shares: dict[str, float] = {}
    latest = row.user_stop
    if latest is None:
        return shares
    for at, stage in reached:
        shares[stage] = max(0.0, at - latest) / 1000
        latest = max(latest, at)
    return shares


def render() -> tuple[bytes, str]:
    """The exposition text and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
