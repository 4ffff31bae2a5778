"""The settings tree. Every field names its unit in its name or its description; ``docs/configuration.md`` is made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from agent.record import Level
from pipeline.settings.phone import PhoneSettings
from pipeline.settings.processes import EngineSettings, GpuSettings, ModelSettings
from pipeline.settings.section import Section as Section


class ServerSettings(Section):
    """Where the web server listens and what it accepts."""

    host: str = Field("127.0.0.1", description="Address to listen on. Anything but loopback needs auth.token.")
    port: int = Field(7860, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    https: bool = Field(False, description="Serve TLS; makes a self-signed certificate unless cert_file is set.")
    cert_file: Path | None = Field(None, description="PEM certificate chain.")
    key_file: Path | None = Field(None, description="PEM private key.")
    allowed_hosts: list[str] = Field(
        default_factory=list, description="Host names that requests may carry besides loopback names and this machine's."
    )
    allowed_origins: list[str] = Field(
        default_factory=list, description="Origins (scheme://host[:port]) besides the page's own that may open a call."
    )
    max_body_bytes: int = Field(262_144, ge=1_000, description="Largest HTTP request body.")
    session_rate_per_minute: int = Field(60, ge=1, description="New sessions per client address and minute.")


class AuthSettings(Section):
    """Who may use the server."""

    token: SecretStr | None = Field(None, min_length=1, description="Shared secret; with it every route but /health needs it.")


class LogSettings(Section):
    """What is logged, to stderr."""

    level: Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level written.")
    format: Literal["text", "json"] = Field("text", description="One line of text, or one JSON object, per entry.")


class LimitSettings(Section):
    """How much one process takes on."""

    max_calls: int = Field(8, ge=1, description="Calls at a time; the next one is refused with 429.")
    max_loop_lag_ms: float = Field(
        20.0,
        ge=0,
        le=500,
        description="Lag of the event loop (99th percentile of 10 s) at which further calls are refused with 429; 0: no limit.",
    )
    max_packet_late_ms: float = Field(
        15.0,
        ge=0,
        le=500,
        description="Lateness of the tutor's packets (the same percentile) at which further calls are refused; 0: no limit.",
    )
    max_call_s: float = Field(3600.0, gt=0, description="Longest call, in seconds.")
    ws_max_message_bytes: int = Field(1_000_000, ge=10_000, description="Largest WebSocket message; a larger one closes 1009.")
    ws_max_audio_speed: float = Field(
        4.0, gt=1, description="Audio faster than this multiple of real time, for 10 s, is abuse."
    )


class SessionSettings(Section):
    """How long a call outlives its connection."""

    detach_after_s: float = Field(5.0, gt=0, description="Seconds without media or ping after which a client is detached.")
    resume_for_s: float = Field(30.0, ge=0, description="Seconds a detached session waits for its client.")


class VADSettings(Section):
    """Voice activity detection (Silero, 32 ms windows at 16 kHz)."""

    confidence: float = Field(0.7, gt=0, lt=1, description="Speech probability above which a window is voiced.")
    sure: float = Field(
        0.95,
        gt=0,
        lt=1,
        description="Speech probability that the last window of a voice's start must reach; lower is sooner, "
        "and starts at more coughs.",
    )
    start_s: float = Field(0.064, gt=0, description="Seconds of voice that start a turn.")
    stop_s: float = Field(0.2, gt=0, description="Seconds of silence after which the turn's end is judged.")
    min_volume: float = Field(
        0.0, ge=0, le=1, description="Loudness gate, 0 to 1 (EBU R128 scaled); 0 hears quiet speakers, too."
    )


class TurnSettings(Section):
    """When a learner's turn is over."""

    end: Literal["stock", "patient"] = Field(
        "patient",
        description="How a turn's end is found: by pipecat's own strategy, or by voice and words together, which waits longer "
        "where a sentence is not over.",
    )
    barge_in: Literal["stock", "verdict"] = Field(
        "verdict",
        description="What a voice over the tutor does: stop it at once, or hold it until it is clear whether somebody wants "
        "the turn; after noise, echo or a backchannel the tutor goes on where it was.",
    )
    verdict_s: float = Field(0.6, ge=0.2, le=2, description="Longest time that the tutor is held for.")
    patience: float = Field(1.0, gt=0, le=3, description="What patient waits are multiplied by; beginners get 1.25 of it.")
    speculate: bool = Field(
        True,
        description="Begin the answer while a pause may still turn out not to be the end (patient only): it is heard sooner, "
        "and what is begun in vain costs tokens.",
    )
    max_guesses: int = Field(3, ge=0, description="Answers that may be begun in vain for one turn of the learner.")
    smart_turn: bool = Field(True, description="Ask the smart-turn model whether a pause is the end (stock only).")
    silence_s: float = Field(
        0.6, gt=0, le=10, description="Silence that ends a turn where neither patience nor smart-turn judges it (stock only)."
    )
    incomplete_wait_s: float = Field(3.0, gt=0, description="Silence that ends a turn which smart-turn holds to be incomplete.")
    stop_timeout_s: float = Field(5.0, gt=0, description="Longest wait for words after the voice stopped.")


class FaultSettings(Section):
    """What happens when a stage of a call fails or stalls."""

    stt_timeout_s: float = Field(4.0, gt=0, description="Longest wait for the words of speech that has ended.")
    llm_timeout_s: float = Field(6.0, gt=0, description="Longest wait for the first word of the tutor's answer.")
    llm_gap_timeout_s: float = Field(
        4.0, gt=0, description="Longest pause within the tutor's text, once its voice has caught up."
    )
    tts_timeout_s: float = Field(3.0, gt=0, description="Longest wait for the voice, once there is text to speak.")
    max_in_a_row: int = Field(3, ge=1, description="Faults without a good answer between them that end the call.")


class SilenceSettings(Section):
    """What happens when the learner says nothing."""

    ask_after_s: float = Field(20.0, ge=0, description="Silence in seconds after which the tutor asks again; 0 waits for ever.")
    asks: int = Field(2, ge=0, description="How often the tutor asks before the next silence ends the call.")


class RecordingSettings(Section):
    """Whether calls are recorded. Learners are told, and may decline."""

    enabled: bool = Field(False, description="Keep both voices of each call below data_dir/recordings.")
    format: Literal["flac", "opus"] = Field("flac", description="flac (lossless, any browser) or opus (in Ogg, smaller).")
    keep_days: float | None = Field(None, gt=0, description="Days after which a recording is deleted; none: kept.")
    max_bytes: int | None = Field(None, ge=0, description="Bytes of all recordings above which the oldest go; none: no limit.")


class UploadSettings(Section):
    """Audio files that a learner sends as a turn."""

    max_bytes: int = Field(10_000_000, ge=1_000, description="Largest file.")
    max_s: float = Field(60.0, gt=0, le=600, description="Longest audio, in seconds.")


class IceServer(Section):
    """One STUN or TURN server."""

    urls: list[str]
    username: str | None = None
    credential: SecretStr | None = None


class TurnServerSettings(Section):
    """A coturn server with time-limited credentials (its ``use-auth-secret``)."""

    urls: list[str] = Field(default_factory=list, description="turn: or turns: URLs; empty switches it off.")
    secret: SecretStr | None = Field(None, description="coturn's static-auth-secret.")
    ttl_s: int = Field(3600, ge=60, description="Seconds for which a credential is good.")


class WebRTCSettings(Section):
    """The WebRTC door."""

    ice_servers: list[IceServer] = Field(default_factory=list, description="Given to the page and used here. None by default.")
    turn: TurnServerSettings = Field(default_factory=TurnServerSettings)
    gather_timeout_s: float = Field(1.0, gt=0, description="Longest wait for this side's candidates before the answer.")
    jitter_max_ms: int = Field(
        200,
        ge=40,
        le=1_000,
        description="Longest wait for a packet of the learner's voice that is missing; adapts below that; only a loss waits.",
    )
    conceal_losses: bool = Field(
        True,
        description="Make up lost packets of the learner's voice (FEC where sent, else Opus' concealment); false: leave gaps.",
    )
    opus_bitrate_bps: int = Field(96_000, ge=16_000, le=256_000, description="Bit rate of the tutor's voice.")
    opus_complexity: int = Field(5, ge=0, le=10, description="Opus encoder effort; CPU against quality.")


class PocketsphinxSettings(Section):
    """The embedded recogniser."""

    workers: int = Field(0, ge=0, description="Worker processes; 0: one less than the machine's cores, at most 4.")
    partials: bool = Field(True, description="Show words while they are spoken.")
    queue_deadline_s: float = Field(3.0, gt=0, description="Longest wait of an utterance for a free worker.")
    utterance_timeout_s: float = Field(
        15.0, gt=0, description="Longest decoding of one utterance before its worker is replaced."
    )
    max_utterance_s: float = Field(
        30.0, ge=5, le=120, description="Speech without a pause is cut into pieces of this many seconds."
    )


class NoiseFilterSettings(Section):
    """Transcripts that were read into a noise. All three must hold: weak, short, and words that say nothing."""

    enabled: bool = Field(True, description="Drop them.")
    rms: float = Field(0.004, ge=0, le=1, description="Weak: the mean (RMS) is below this share of full scale ...")
    peak: float = Field(0.03, ge=0, le=1, description="... and the largest sample is below this one.")
    max_duration_s: float = Field(1.0, ge=0, description="Short: voice of at most so many seconds.")


class KyutaiSTTSettings(Section):
    """Kyutai's speech to text on a server: Parley's own engine, or moshi-server."""

    url: str = Field("", description="The server, such as ws://127.0.0.1:8090; its path may be left out.")
    key: SecretStr | None = Field(None, description="Sent as kyutai-api-key, where the server wants one.")
    connect_timeout_s: float = Field(2.0, gt=0, le=30, description="Longest wait for a connection.")
    answer_timeout_s: float = Field(
        1.5, gt=0, le=30, description="Longest wait for the last words of speech that has ended; then the fallback is asked."
    )
    delay_s: float = Field(
        0.5,
        gt=0,
        le=10,
        description="By how much the model's words come late (stt-1b 0.5, stt-2.6b 2.5); needed for moshi-server only.",
    )
    replay_s: float = Field(
        6.0, ge=1, le=9, description="Seconds of the learner's audio that are sent again after a lost connection."
    )
    pauses: bool = Field(True, description="Let the model's own expectation of pauses count in turn-taking, where it has one.")
    fallback: Literal["whisper", "pocketsphinx", "none"] = Field(
        "pocketsphinx",
        description="Who recognises an utterance while the server is down or full; loaded beside it.",
    )
    noise: NoiseFilterSettings = Field(default_factory=NoiseFilterSettings)


class WhisperSettings(Section):
    """Whisper in the process, by faster-whisper: whole utterances, no partial words. Needs requirements/cpu.txt."""

    model: str = Field(
        "distil-small.en", description="A name that faster-whisper knows (tiny.en, small.en, large-v3 …), or a folder."
    )
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="Where it computes.")
    compute_type: str = Field("int8", description="Precision: int8, float16, float32, default …")
    threads: int = Field(0, ge=0, description="CPU threads of a recognition; 0: as the library wants.")
    at_once: int = Field(2, ge=1, le=16, description="Utterances that are recognised at the same time.")
    no_speech: float = Field(0.4, ge=0, le=1, description="A piece that is more likely no speech than this is dropped.")


class STTSettings(Section):
    """Speech to text."""

    engine: str = Field("pocketsphinx", description="Which recogniser: a file of pipeline/stt, by its name.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of an engine that has no section here.")
    pocketsphinx: PocketsphinxSettings = Field(default_factory=PocketsphinxSettings)
    kyutai: KyutaiSTTSettings = Field(default_factory=KyutaiSTTSettings)
    whisper: WhisperSettings = Field(default_factory=WhisperSettings)


class EspeakSettings(Section):
    """The embedded voice."""

    voice: str = Field("en-us", description="An espeak-ng voice name.")
    rate_wpm: int = Field(150, ge=80, le=450, description="Speech rate, words a minute.")
    pitch: int = Field(50, ge=0, le=100, description="Base pitch, 0 to 100.")


class KyutaiTTSSettings(Section):
    """Kyutai's text to speech on a server: Parley's own engine, or moshi-server."""

    url: str = Field("", description="The server, such as ws://127.0.0.1:8089; its path may be left out.")
    key: SecretStr | None = Field(None, description="Sent as kyutai-api-key, where the server wants one.")
    voice: str = Field("", description="A voice that the server has; empty: the server's own.")
    connect_timeout_s: float = Field(1.0, gt=0, le=30, description="Longest wait for a connection; it is tried twice.")


class PocketSettings(Section):
    """Kyutai's Pocket TTS in the process, on the CPU. Needs requirements/cpu.txt."""

    voice: str = Field("alba", description="One of its voices, a WAV file to speak like, or a .safetensors file of a voice.")
    temp: float = Field(0.7, ge=0, le=2, description="How freely it speaks.")
    quantize: bool = Field(False, description="Weights in int8: faster on some CPUs.")
    at_once: int = Field(2, ge=1, le=16, description="Replies that are spoken at the same time; each has a copy of the model.")


class TTSSettings(Section):
    """Text to speech."""

    engine: str = Field("espeak", description="Which voice: a file of pipeline/tts, by its name.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of an engine that has no section here.")
    espeak: EspeakSettings = Field(default_factory=EspeakSettings)
    kyutai: KyutaiTTSSettings = Field(default_factory=KyutaiTTSSettings)
    pocket: PocketSettings = Field(default_factory=PocketSettings)


class VLLMSettings(Section):
    """A language model on a server that speaks OpenAI's chat completions: vLLM, or any other."""

    url: str = Field("", description="The server, such as http://127.0.0.1:8000/v1; /v1 may be left out.")
    key: SecretStr | None = Field(None, description="Sent as a bearer token, where the server wants one.")
    model: str = Field("", description="A model that the server lists; empty: the first one.")
    dialect: Literal["vllm", "openai", "plain"] = Field(
        "vllm",
        description="Which fields a request may have besides the usual: vllm (all), openai (usage and JSON schemas; llama.cpp, "
        "Ollama), plain (none; transformers serve).",
    )
    thinking: bool = Field(False, description="Let a model think that can (Qwen3): nothing is said before it has finished.")
    connect_timeout_s: float = Field(2.0, gt=0, le=30, description="Longest wait for a connection.")
    read_timeout_s: float = Field(
        15.0, gt=0, le=300, description="Longest silence of the server; faults.llm_timeout_s is usually over sooner."
    )


class TransformersSettings(Section):
    """A language model in a process of its own, by the transformers library; for one call or two at a time."""

    model: str = Field("", description="A folder, or a name that the library can load.")
    python: str = Field("", description="The Python that has torch and transformers; empty: Parley's own.")
    device: str = Field("cpu", description="cpu, cuda or cuda:N.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="Of the weights; auto: as stored.")
    threads: int = Field(0, ge=0, description="CPU threads of the process; 0: as the library wants.")
    start_timeout_s: float = Field(300.0, gt=0, description="Longest wait for the model to be loaded.")


class LLMSettings(Section):
    """What the tutor thinks with."""

    engine: str = Field("scripted", description="Which tutor: a file of pipeline/llm, by its name.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of an engine that has no section here.")
    vllm: VLLMSettings = Field(default_factory=VLLMSettings)
    transformers: TransformersSettings = Field(default_factory=TransformersSettings)
    fallback: Literal["none", "transformers"] = Field(
        "none", description="Who answers while the server of llm.vllm is absent; loaded beside it."
    )
    max_model_len: int = Field(
        0, ge=0, description="Tokens that the model can look back on, prompt and answer; 0: what its server says, or 4,096."
    )
    top_p: float = Field(0.9, gt=0, le=1, description="Share of the likeliest next words that are chosen from.")
    stop: list[str] = Field(default_factory=list, max_length=4, description="Texts that end an answer.")
    corrections: bool = Field(
        False, description="After each answer, ask the model for corrections of the learner's turn; they show on the page."
    )


class TutorSettings(Section):
    """The lesson a call starts with."""

    lesson: str = Field("introductions", description="A lesson of agent/lessons, or of lesson_file, by its file name.")
    level: Level = Field("beginner", description="beginner, intermediate or advanced.")
    greet: bool = Field(True, description="The tutor speaks first.")
    read_aloud_file: Path | None = Field(
        None, description="A text file, one sentence a line: the lesson read_aloud is made of it."
    )
    lesson_file: Path | None = Field(
        None, description="A lesson of your own (docs/lessons.md): YAML, or text to read aloud; named after its file."
    )


class _OptionRange(Section):
    """What one option may be."""

    @field_validator("default", check_fields=False)
    @classmethod
    def _within(cls, value: float, info: ValidationInfo) -> float:
        low, high = info.data.get("min"), info.data.get("max")
        if low is not None and high is not None and not low <= value <= high:
            raise ValueError(f"the default must lie between min ({low:g}) and max ({high:g})")
        return value


class TemperatureOption(_OptionRange):
    """How freely a language model chooses its words."""

    min: float = Field(0.0, ge=0, le=2, description="Least: 0 always takes the likeliest word.")
    max: float = Field(1.5, ge=0, le=2, description="Most.")
    default: float = Field(0.7, ge=0, le=2, description="Where a learner sets none; between min and max.")


class MaxTokensOption(_OptionRange):
    """The longest answer of a language model, in tokens (some three quarters of a word each)."""

    min: int = Field(20, ge=1, description="Least.")
    max: int = Field(500, ge=1, description="Most.")
    default: int = Field(200, ge=1, description="Where a learner sets none; between min and max.")


class SpeechRateOption(_OptionRange):
    """How fast the tutor speaks, as a multiple of the voice's own rate."""

    min: float = Field(0.7, ge=0.25, le=1, description="Slowest.")
    max: float = Field(1.5, ge=1, le=4, description="Fastest.")
    default: float = Field(1.0, gt=0, description="Where a learner sets none; between min and max.")


class OptionSettings(Section):
    """What learners may set for their own calls. An option that no chosen engine uses changes nothing."""

    temperature: TemperatureOption = Field(default_factory=TemperatureOption)
    max_tokens: MaxTokensOption = Field(default_factory=MaxTokensOption)
    speech_rate: SpeechRateOption = Field(default_factory=SpeechRateOption)


class Settings(Section):
    """The whole tree: one YAML file, overridden by ``PARLEY_SECTION__KEY``."""

    data_dir: Path = Field(Path("data"), description="All state lies here. PARLEY_DATA_DIR.")
    server: ServerSettings = Field(default_factory=ServerSettings)
    auth: AuthSettings = Field(default_factory=AuthSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    session: SessionSettings = Field(default_factory=SessionSettings)
    vad: VADSettings = Field(default_factory=VADSettings)
    turns: TurnSettings = Field(default_factory=TurnSettings)
    faults: FaultSettings = Field(default_factory=FaultSettings)
    silence: SilenceSettings = Field(default_factory=SilenceSettings)
    recording: RecordingSettings = Field(default_factory=RecordingSettings)
    upload: UploadSettings = Field(default_factory=UploadSettings)
    webrtc: WebRTCSettings = Field(default_factory=WebRTCSettings)
    phone: PhoneSettings = Field(default_factory=PhoneSettings)
    stt: STTSettings = Field(default_factory=STTSettings)
    llm: LLMSettings = Field(default_factory=LLMSettings)
    tts: TTSSettings = Field(default_factory=TTSSettings)
    engines: dict[str, EngineSettings] = Field(
        default_factory=dict,
        description="Engines that are processes of their own, by name; stt, llm and tts serve the stages of these names.",
    )
    models: ModelSettings = Field(default_factory=ModelSettings)
    gpu: GpuSettings = Field(default_factory=GpuSettings)
    tutor: TutorSettings = Field(default_factory=TutorSettings)
    options: OptionSettings = Field(default_factory=OptionSettings)
