"""Bodies of the REST routes. Times are ISO 8601 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agent.record import LEVELS, Level
from pipeline.messages import OptionNumber, OptionWhole
from pipeline.options import OPTION_STAGES, OptionName

ID_EXAMPLE = "9f86d081884c7d65"


def iso_utc(at: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC with milliseconds, e.g. ``2026-05-01T10:00:00.000Z``."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Info(BaseModel):
    """What answers at ``/`` to a program."""

    name: Literal["parley"] = "parley"
    version: str = Field(examples=["0.1.0"])
    openapi: str = Field("/openapi.json", description="Where these routes are described.")
    doors: dict[str, str] = Field(
        {"webrtc": "/api/offer", "websocket": "/ws/conversation", "rtvi": "/ws/rtvi", "realtime": "/v1/realtime"},
        description="Where a call begins, by protocol.",
    )


class Health(BaseModel):
    """The process is alive. It may still be loading: see ``/ready``."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Calls can begin."""

    status: Literal["ready"] = "ready"


class EngineInfo(BaseModel):
    """One engine."""

    name: str = Field(examples=["pocketsphinx"])
    stage: Literal["stt", "llm", "tts"]
    state: Literal["unloaded", "loading", "ready", "failed"]
    error: str | None = Field(None, description="Why it failed to load.")
    load_s: float | None = Field(None, description="Seconds that loading it took, warm-up included.", examples=[1.4])
    memory_mb: float | None = Field(
        None, description="Memory in MB, measured: what this process and its children had more of after loading it."
    )
    honours: list[str] = Field(default_factory=list, description="The options of a call that change what it does.")
    detail: dict[str, Any] = Field(default_factory=dict)


class ProcessInfo(BaseModel):
    """An engine that is a process of its own, started by this server."""

    name: str = Field(description="Its name under `engines` in the settings.", examples=["tts"])
    url: str = Field(examples=["http://127.0.0.1:8089"])
    state: Literal["stopped", "starting", "ready", "restarting", "failed"]
    pid: int | None = Field(None, description="Process id of its keeper, whose child it is.", examples=[4711])
    restarts: int = Field(0, description="How often it ended unasked and was started again.", examples=[0])
    progress: str | None = Field(None, description="What its start is at, in its own words.", examples=["Loading weights 50 %"])
    error: str | None = Field(None, description="Why it ended last, or could not be started.")


class EngineChoice(BaseModel):
    """Which engine is meant, by its stage; all of them by default."""

    model_config = ConfigDict(extra="forbid")

    engine: Literal["stt", "llm", "tts", "all"] = "all"

    @property
    def stages(self) -> list[str] | None:
        """Its stages; ``None`` for all."""
        return None if self.engine == "all" else [self.engine]


class Models(BaseModel):
    """The engines afterwards."""

    ready: bool = Field(description="Whether calls can begin.")
    engines: list[EngineInfo]
    processes: list[ProcessInfo] = Field(description="Those of them that are processes started by this server.")


class StoreInfo(BaseModel):
    """The records of calls on their way to the disk."""

    waiting: int = Field(0, description="Parts of records that are not written yet.", examples=[0])
    error: str | None = Field(None, description="Why nothing can be written at the moment.", examples=[None])


class ReceptionInfo(BaseModel):
    """How the audio packets of one WebRTC call have been arriving. Counts and times are totals of the connection."""

    session_id: str
    packets: int = Field(description="Received.", examples=[5230])
    lost: int = Field(description="Given up as missing.", examples=[12])
    late: int = Field(description="Came after their time had been made up, and were dropped.", examples=[1])
    duplicates: int = Field(examples=[0])
    undecodable: int = Field(examples=[0])
    concealed_ms: int = Field(
        description="Audio continued from what was heard before; silence, where the client stopped sending.", examples=[140]
    )
    restored_ms: int = Field(description="Audio of lost packets restored from later ones (in-band FEC).", examples=[100])
    depth_ms: float = Field(description="How long a missing packet is waited for at present.", examples=[25.0])
    jitter_ms: float = Field(description="RFC 3550's interarrival jitter.", examples=[1.4])


class HeadroomInfo(BaseModel):
    """What is left before further calls are refused. The percentiles are of the last 10 s; null: too little to judge by."""

    left: float = Field(description="From 1 (everything on time) to 0 (at a limit).", examples=[0.85])
    admits: bool = Field(description="Whether a further call would be admitted.", examples=[True])
    low: bool = Field(description="Whether work is left out that may be in vain (speculation).", examples=[False])
    reason: str | None = Field(None, description="Why calls are refused.")
    loop_lag_p99_s: float | None = Field(description="How late timers run.", examples=[0.003])
    packet_late_p99_s: float | None = Field(description="How late the tutor's packets leave.", examples=[0.002])


class Status(BaseModel):
    """What the process is doing."""

    ready: bool
    version: str = Field(examples=["0.1.0"])
    uptime_s: float = Field(examples=[73.2])
    active_calls: int = Field(description="Sessions with a client attached.", examples=[1])
    detached_calls: int = Field(description="Sessions that wait for their client.", examples=[0])
    max_calls: int = Field(examples=[8])
    tasks: int = Field(description="asyncio tasks of the process.", examples=[12])
    loop_lag_worst_s: float = Field(description="Worst event loop lag of about the last 10 s.", examples=[0.004])
    headroom: HeadroomInfo
    engines: list[EngineInfo]
    processes: list[ProcessInfo] = Field(description="The engines that are processes started by this server.")
    store: StoreInfo
    receiving: list[ReceptionInfo] = Field(description="The WebRTC calls that are connected.")


class Gpu(BaseModel):
    """One GPU, as nvidia-smi sees it."""

    index: int
    name: str
    memory_total_mib: float | None
    memory_used_mib: float | None
    utilisation_percent: float | None
    temperature_c: float | None


class GpuEngine(BaseModel):
    """What an engine that was started here is to take of a GPU."""

    name: str
    gpu: int = Field(description="The index of the GPU.")
    memory_gb: float | None = Field(description="GB (10⁹ bytes) by its settings; null: nobody knows.")
    state: str = Field(examples=["ready"])


class GpuInfo(BaseModel):
    """The GPUs of the machine; ``reason`` says why there are none."""

    available: bool = Field(examples=[False])
    reason: str | None = Field(None, examples=["nvidia-smi is not installed"])
    gpus: list[Gpu] = Field(default_factory=list)
    engines: list[GpuEngine] = Field(default_factory=list)


class SystemInfo(BaseModel):
    """The machine and this process."""

    platform: str
    python: str = Field(examples=["3.11.2"])
    cpu_count: int
    cpu_percent: float = Field(description="Of all cores, since the last time it was asked for.")
    load_average: list[float] = Field(description="1, 5 and 15 minutes.")
    memory_total_bytes: int
    memory_available_bytes: int
    disk_free_bytes: int = Field(description="Where data_dir lies.")
    process_rss_bytes: int
    process_threads: int
    process_open_files: int | None


class LessonInfo(BaseModel):
    """A lesson that a call can be about."""

    id: str = Field(examples=["introductions"])
    title: str = Field(examples=["Introducing yourself"])
    goal: str
    kind: str = Field(examples=["conversation"])
    level: Level | None = Field(None, description="The level that it is made for.")
    levels: list[Level] = Field(default=list(LEVELS), description="The levels that it can be had at.")


class Lessons(BaseModel):
    """All lessons, and the one that is used where none is named."""

    items: list[LessonInfo]
    default: str


class IceServerInfo(BaseModel):
    """A STUN or TURN server, in the browser's own form (RTCIceServer)."""

    model_config = ConfigDict(extra="allow")

    urls: list[str] | str
    username: str | None = None
    credential: str | None = None


class IceServers(BaseModel):
    """What a page gives to its RTCPeerConnection. The credentials are short-lived."""

    ice_servers: list[IceServerInfo]


class AudioRates(BaseModel):
    """Sample rates of the WebSocket door, in Hz."""

    input_rate: int
    output_rate: int


class OptionInfo(BaseModel):
    """An option of a call, the values that it may have, and whether it changes anything."""

    name: OptionName
    min: float
    max: float
    default: float
    whole: bool = Field(description="Whether it takes whole numbers only.")
    used: bool = Field(description="Whether the engine that it is for honours it.")
    reason: str | None = Field(None, description="Why it changes nothing.", examples=["The scripted tutor does not use it."])


class ClientConfig(BaseModel):
    """Everything that a page needs to know before a call."""

    lessons: list[LessonInfo]
    levels: list[Level]
    default_level: Level
    default_lesson: str
    ice_servers: list[IceServerInfo]
    audio: AudioRates
    detach_after_s: float
    resume_for_s: float
    max_call_s: float
    recording: bool = Field(False, description="Whether calls are recorded unless their learner declines.")
    upload_max_bytes: int = Field(description="Largest audio file that can be sent as a turn.")
    options: list[OptionInfo] = Field(default_factory=list, description="What a learner may set for a call.")


class WantedOptions(BaseModel):
    """Options of a call; `GET /api/client-config` has their ranges, and what is left out is the default."""

    temperature: OptionNumber | None = None
    max_tokens: OptionWhole | None = None
    speech_rate: OptionNumber | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Those that are given, by name."""
        return {name: value for name in OPTION_STAGES if (value := getattr(self, name)) is not None}


class NewSession(WantedOptions):
    """How a session is to begin; what is left out comes from the settings."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"level": "beginner", "lesson": "introductions"}]}
    )

    level: Level | None = None
    lesson: str | None = Field(None, max_length=100)
    record: bool = Field(True, description="False: the session is not recorded, whatever the settings say.")


class SessionCreated(BaseModel):
    """A session that waits for its connection until ``expires``."""

    session_id: str = Field(examples=[ID_EXAMPLE])
    resume_token: str = Field(description="Given to the door (`?resume=` or `session_token`) to take the session up.")
    expires: str = Field(examples=["2026-05-01T10:00:30.000Z"])
    recording: bool = Field(False, description="Whether both voices of the call are kept.")


class SessionItem(BaseModel):
    """One session of the list."""

    id: str = Field(examples=[ID_EXAMPLE])
    started_at: str = Field(examples=["2026-05-01T10:00:00.000Z"])
    ended_at: str | None
    door: str = Field(examples=["webrtc"])
    level: Level
    lesson: str
    turn_count: int
    score: float | None = Field(None, description="The report's final score, 0 to 100, where there is one.")
    recorded: bool = Field(False, description="Whether its sound was kept: `GET /api/sessions/{id}/audio`.")


class SessionPage(BaseModel):
    """Sessions, newest first. ``next`` is the ``cursor`` of the following page, or null at the end."""

    items: list[SessionItem]
    next: str | None


class SessionDetail(SessionItem):
    """A session with all that was said. ``turns`` and ``metrics`` are the fields of ``agent.record``."""

    end_reason: str | None
    live: bool = Field(description="Whether the session has not ended.")
    options: dict[str, float] | None = Field(None, description="The options in force, of a live session.")
    recording_started_at: str | None = Field(
        None, description="Moment of the recording's first sample; a turn's place in it is its own time less this."
    )
    turns: list[dict[str, Any]]
    metrics: list[dict[str, Any]]


class Uploaded(BaseModel):
    """What was recognised in a file; the tutor answers it in the call."""

    text: str = Field(examples=["my name is anna"])
    words: list[dict[str, Any]] = Field(description="As in `agent.record.Word`: text, start_s, end_s, confidence.")
    audio_s: float = Field(description="Length of the audio, in seconds.", examples=[1.8])


class Ended(BaseModel):
    """A session was ended."""

    session_id: str = Field(examples=[ID_EXAMPLE])
    report: dict[str, Any]


class OfferData(WantedOptions):
    """What a WebRTC client may ask for with its offer."""

    model_config = ConfigDict(extra="ignore")

    session_token: str | None = Field(None, max_length=200, description="Take up the session of this resume token.")
    resume: str | None = Field(None, max_length=200, description="The same, under the WebSocket door's name.")
    level: Level | None = None
    lesson: str | None = Field(None, max_length=100)
    record: bool = Field(True, description="False: a new session is not recorded, whatever the settings say.")

    @property
    def token(self) -> str | None:
        """The resume token, if any."""
        return self.session_token or self.resume


class Offer(BaseModel):
    """An SDP offer, in the form of pipecat's small WebRTC transport (which sends ``request_data`` or ``requestData``)."""

    model_config = ConfigDict(extra="ignore")

    sdp: str = Field(min_length=1, max_length=200_000)
    type: Literal["offer"]
    pc_id: str | None = Field(None, max_length=200)
    restart_pc: bool | None = None
    request_data: OfferData | None = None
    requestData: OfferData | None = None

    @property
    def data(self) -> OfferData:
        """The request data, whichever way it was spelt."""
        return self.request_data or self.requestData or OfferData()


class Answer(BaseModel):
    """The SDP answer. The session's id and resume token are what a later offer or REST call names."""

    sdp: str
    type: Literal["answer"] = "answer"
    pc_id: str
    session_id: str = Field(examples=[ID_EXAMPLE])
    resume_token: str
    recording: bool = Field(False, description="Whether both voices of the call are kept.")


class Candidate(BaseModel):
    """One ICE candidate, as an RTCIceCandidate gives it."""

    model_config = ConfigDict(extra="ignore")

    candidate: str = Field(max_length=2_000)
    sdp_mid: str | None = Field(None, max_length=100)
    sdp_mline_index: int | None = Field(None, ge=0, le=100)


class Candidates(BaseModel):
    """Candidates that a client found after its offer."""

    model_config = ConfigDict(extra="ignore")

    pc_id: str = Field(max_length=200)
    candidates: list[Candidate] = Field(max_length=100)


class Done(BaseModel):
    """Nothing more to say."""

    status: Literal["success"] = "success"
