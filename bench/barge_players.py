"""Trials of barge-in, played on their own clock: to Parley's verdicts and to stock pipecat's voice detector.

Silero is the real one, and so is the state machine of pipecat's detector; what it takes from the model is noted once a trial,
for all the settings that it is asked about. Only where the microphone hears the tutor's echo is that done as the trial goes on,
since a tutor who is held makes none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams, VADState

from bench.barge_events import TUTOR_AT_S, Event, tutor_sent
from bench.barge_sounds import RATE_HZ, Floats, Samples
from pipeline.pipecat_private import SharedSileroVAD
from pipeline.settings.tree import VADSettings
from pipeline.stt.sphinx_decoder import SphinxDecoder, shared
from pipeline.turns.barge import (
    BargeIn,
    Decision,
    Ducked,
    Interrupted,
    Parameters,
    Resumed,
    Speech,
    Started,
    Tick,
    Tutor,
    Voice,
    VoiceEdge,
    Words,
)
from pipeline.turns.echo import FLOOR_DB, level_db
from pipeline.turns.onset import Onset

WINDOW = 512
WINDOW_S = WINDOW / RATE_HZ
PIECE = 256
"""What is played is told of in pieces of this many samples (16 ms)."""
ORACLE_DELAY_S, ORACLE_FLUSH_S = 0.5, 0.1
"""The oracle recogniser gives each word this long after its end, and all of them this long after the voice detector's stop."""
EMBEDDED_FLUSH_S = 0.15
PRE_ROLL_S = 0.5
"""Audio before the voice detector's start that the embedded recogniser is given."""
SPEECH_WORDS_S = 4.0
"""The tutor's words of the last seconds are told to the verdicts."""


@dataclass(frozen=True, slots=True)
class Windows:
    """For each 32 ms window of a trial: Silero's probability, pipecat's smoothed volume (0 to 1) and the level in dBFS."""

    probability: Sequence[float]
    volume: Sequence[float]
    level_db: Sequence[float]


class _Noting(SharedSileroVAD):
    """Notes what the detector's state is made from."""

    def __init__(self, session: InferenceSession, params: VADParams) -> None:
        super().__init__(session, params)
        self.seen: list[tuple[float, float]] = []

    def voice_confidence(self, buffer: bytes) -> float:
        """As of the model, and noted."""
        probability = super().voice_confidence(buffer)
        self.seen.append((probability, 0.0))
        return probability

    def _get_smoothed_volume(self, audio: bytes) -> float:
        volume = float(super()._get_smoothed_volume(audio))
        self.seen[-1] = (self.seen[-1][0], volume)
        return volume


class _Replay(VADAnalyzer):
    """pipecat's state machine over what was noted."""

    def __init__(self, params: VADParams) -> None:
        super().__init__(params=params)
        self._now = (0.0, 0.0)
        self.set_sample_rate(RATE_HZ)

    def num_frames_required(self) -> int:
        """Samples of a window."""
        return WINDOW

    def voice_confidence(self, buffer: bytes) -> float:
        """What was noted."""
        return self._now[0]

    def _get_smoothed_volume(self, audio: bytes) -> float:
        return self._now[1]

    def state(self, probability: float, volume: float) -> VADState:
        """The state after one more window."""
        self._now = (probability, volume)
        return self._run_analyzer(bytes(2 * WINDOW))


class _CallReplay(_Replay):
    """As the voice detector of a call: an ``Onset`` decides which windows count."""

    def __init__(self, settings: VADSettings) -> None:
        super().__init__(
            VADParams(confidence=0.5, start_secs=WINDOW_S, stop_secs=settings.stop_s, min_volume=settings.min_volume)
        )
        self._onset = Onset(round(settings.start_s / WINDOW_S), settings.confidence, settings.sure)

    def voice_confidence(self, buffer: bytes) -> float:
        """1.0 where the window counts."""
        speaking = self._vad_state in (VADState.SPEAKING, VADState.STOPPING)
        return float(self._onset.voiced(self._now[0], speaking=speaking))


class Ears:
    """The voice detector, and what it took from trials that do not depend on what the tutor does."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self._noted: dict[int, Windows] = {}

    def live(self) -> _Noting:
        """A fresh detector."""
        vad = _Noting(self._session, VADParams())
        vad.set_sample_rate(RATE_HZ)
        return vad

    def windows(self, event: Event) -> Windows:
        """What was noted of ``event``, heard now if it was not before."""
        if id(event) not in self._noted:
            self._noted[id(event)] = self.hear(event.mic)
        return self._noted[id(event)]

    def hear(self, mic: Samples) -> Windows:
        """What the detector takes from ``mic``."""
        vad = self.live()
        levels = []
        for at in range(0, len(mic) - WINDOW + 1, WINDOW):
            piece = pcm16(mic[at : at + WINDOW])
            vad._run_analyzer(piece)
            levels.append(level_db(piece))
        return Windows([p for p, _ in vad.seen], [v for _, v in vad.seen], levels)


def stock_states(windows: Windows, params: VADParams) -> list[VADState]:
    """The state of pipecat's detector after each of ``windows``."""
    replay = _Replay(params)
    return [replay.state(p, v) for p, v in zip(windows.probability, windows.volume, strict=True)]


def call_states(windows: Windows, settings: VADSettings) -> list[VADState]:
    """The state of a call's detector after each of ``windows``."""
    replay = _CallReplay(settings)
    return [replay.state(p, v) for p, v in zip(windows.probability, windows.volume, strict=True)]


def pcm16(samples: Samples) -> bytes:
    """Floats of int16's range as pcm16."""
    return np.clip(samples, -32_768, 32_767).astype(np.int16).tobytes()


# What the microphone hears


class _Room:
    """The loudspeaker and the microphone of one trial: the tutor plays unless it is held."""

    def __init__(self, event: Event, *, told: Callable[[float, float], None]) -> None:
        self._event = event
        self._told = told
        self._sent = tutor_sent(event)
        self._played: NDArray[np.float64] = np.zeros(len(event.mic) + WINDOW)
        self.position = 0
        """Samples of the tutor's speech that were played."""
        self.heard_words: list[tuple[str, float]] = [(w.text, w.end_s) for w in event.words]
        """Words that a recogniser could know of, with their ends."""
        self._next_word = 0

    @property
    def speaking(self) -> bool:
        """Whether the tutor has something left to say."""
        return self.position < len(self._sent)

    def advance(self, at: int, *, held: bool) -> Floats:
        """Play, and hear, the ``WINDOW`` samples from ``at`` on."""
        begin = round(TUTOR_AT_S * RATE_HZ)
        if at >= begin and not held:
            piece = self._sent[self.position : self.position + WINDOW]
            self._played[at : at + len(piece)] = piece
            self.position += len(piece)
            self._say_words(at + len(piece))
        for part in range(at, at + WINDOW, PIECE):
            sent = self._played[part : part + PIECE]
            self._told((part + PIECE) / RATE_HZ, level_db(pcm16(sent)) if sent.any() else FLOOR_DB)
        heard = self._event.mic[at : at + WINDOW]
        if self._event.echo is None:
            return heard
        response = self._event.echo
        past = self._played[max(0, at - len(response) + 1) : at + WINDOW]
        past = np.concatenate([np.zeros(len(response) - 1 + WINDOW - len(past)), past])
        return np.asarray(heard + np.lib.stride_tricks.sliding_window_view(past, len(response)) @ response[::-1])

    def _say_words(self, now: int) -> None:
        words = self._event.tutor.words
        while self._event.echo is not None and self._next_word < len(words):
            if words[self._next_word].end_s * RATE_HZ > self.position:
                return
            self.heard_words.append((words[self._next_word].text, now / RATE_HZ))
            self._next_word += 1

    def speech(self) -> Speech:
        """What the verdicts are told that the tutor says."""
        position_s = self.position / RATE_HZ
        words = [
            w.text for w in self._event.tutor.words if position_s - SPEECH_WORDS_S <= w.end_s and w.start_s <= position_s + 0.5
        ]
        return Speech(tuple(words), len(self._sent) / RATE_HZ - position_s)


# Recognisers


class Recogniser(Protocol):
    """Words of the stretch of voice that the voice detector marks out."""

    def begin(self, now_s: float, before: bytes) -> None:
        """A stretch began at ``now_s``; ``before`` is the audio before (pcm16)."""

    def feed(self, now_s: float, audio: bytes, words: Sequence[tuple[str, float]]) -> Words | None:
        """One window more, until ``now_s``: the words so far, where they are new. ``words`` are the true ones."""

    def end(self, now_s: float, words: Sequence[tuple[str, float]]) -> Words | None:
        """The stretch is over: its final, at the time at which it comes; ``None`` where no word was heard."""


@dataclass(slots=True)
class Oracle:
    """The true words, as a good recogniser would give them."""

    _since_s: float = 0.0
    _shown: int = 0

    def begin(self, now_s: float, before: bytes) -> None:
        """Words that ended well before belong to nobody."""
        self._since_s, self._shown = now_s - PRE_ROLL_S, 0

    def feed(self, now_s: float, audio: bytes, words: Sequence[tuple[str, float]]) -> Words | None:
        """Each word ``ORACLE_DELAY_S`` after its end."""
        found = self._until(now_s - ORACLE_DELAY_S, words)
        if len(found) <= self._shown:
            return None
        self._shown = len(found)
        return Words(now_s, found)

    def end(self, now_s: float, words: Sequence[tuple[str, float]]) -> Words | None:
        """All words that were said, ``ORACLE_FLUSH_S`` later."""
        found = self._until(now_s, words)
        return Words(now_s + ORACLE_FLUSH_S, found, final=True, confidence=1.0) if found else None

    def _until(self, end_s: float, words: Sequence[tuple[str, float]]) -> tuple[str, ...]:
        return tuple(text for text, at_s in words if self._since_s < at_s <= end_s)


@dataclass(slots=True)
class Embedded:
    """pocketsphinx, as a call would run it on free speech; the time that it computes is not counted but for the final's."""

    _decoder: SphinxDecoder = field(default_factory=shared)
    _shown: str = ""

    def begin(self, now_s: float, before: bytes) -> None:
        """A new utterance."""
        self._decoder.begin()
        self._decoder.feed(before)
        self._shown = ""

    def feed(self, now_s: float, audio: bytes, words: Sequence[tuple[str, float]]) -> Words | None:
        """The partial, where it changed."""
        self._decoder.feed(audio)
        while self._decoder.step():
            pass
        partial = self._decoder.partial()
        if not partial or partial == self._shown:
            return None
        self._shown = partial
        return Words(now_s, tuple(partial.lower().split()))

    def end(self, now_s: float, words: Sequence[tuple[str, float]]) -> Words | None:
        """The final, ``EMBEDDED_FLUSH_S`` later."""
        found = self._decoder.finish()
        if not found.words:
            return None
        text = tuple(word.text.lower() for word in found.words)
        return Words(now_s + EMBEDDED_FLUSH_S, text, final=True, confidence=found.confidence)


# Players


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a trial, in seconds of its own clock. ``lost_s``: the tutor was stopped; ``None``: it was not.

    ``ducked_s`` is the first hold; ``resumed`` are the lengths of all holds that ended with the tutor going on.
    """

    event: Event
    lost_s: float | None
    ducked_s: float | None = None
    resumed: tuple[float, ...] = ()
    late: bool = False


def play(event: Event, ears: Ears, vad: VADSettings, parameters: Parameters, recogniser: Recogniser) -> Outcome:
    """Play ``event`` to Parley's verdicts behind a voice detector with the settings ``vad``."""
    verdicts = BargeIn(parameters)
    room = _Room(event, told=verdicts.echo.played)
    noted = None if event.echo is not None else ears.windows(event)
    live = ears.live() if noted is None else None
    replay = _CallReplay(vad)
    due: list[Words] = []
    before = VADState.QUIET
    decisions: list[Decision] = []
    tutor = speaking = False
    pre_roll = b""
    for n in range(len(event.mic) // WINDOW):
        now_s = (n + 1) * WINDOW_S
        heard = pcm16(room.advance(n * WINDOW, held=verdicts.held))
        verdicts.speech = room.speech()
        if tutor != (room.position > 0 and room.speaking):
            tutor = not tutor
            decisions += verdicts.observe(Tutor(now_s, tutor))
        while due and due[0].time_s <= now_s:
            decisions += verdicts.observe(due.pop(0))
        check_s = verdicts.next_check_s
        if check_s is not None and check_s <= now_s:
            decisions += verdicts.observe(Tick(max(check_s, now_s - WINDOW_S)))
        if live is not None:
            live._run_analyzer(heard)
            (probability, volume), level = live.seen[-1], level_db(heard)
        else:
            assert noted is not None
            probability, volume, level = noted.probability[n], noted.volume[n], noted.level_db[n]
        decisions += verdicts.observe(Voice(now_s, probability, level, WINDOW_S))
        state = replay.state(probability, volume)
        if state == VADState.SPEAKING and before in (VADState.QUIET, VADState.STARTING):
            speaking = True
            decisions += verdicts.observe(VoiceEdge(now_s, True, now_s - vad.start_s))
            recogniser.begin(now_s, pre_roll)
        elif state == VADState.QUIET and speaking:
            speaking = False
            decisions += verdicts.observe(VoiceEdge(now_s, False, now_s - vad.stop_s))
            final = recogniser.end(now_s, room.heard_words)
            if final is not None:
                due.append(final)
        if speaking:
            partial = recogniser.feed(now_s, heard, room.heard_words)
            if partial is not None:
                decisions += verdicts.observe(partial)
        pre_roll = (pre_roll + heard)[-round(2 * PRE_ROLL_S * RATE_HZ) :]
        before = state
        if any(isinstance(d, Interrupted | Started) for d in decisions):
            break
    if speaking:
        recogniser.end(now_s, room.heard_words)
    return outcome(event, decisions)


def outcome(event: Event, decisions: Sequence[Decision]) -> Outcome:
    """What ``decisions`` did to the tutor. Not to go on after a hold is to be lost, too."""
    stopped = [d for d in decisions if isinstance(d, Interrupted | Started)]
    ducked = [d.time_s for d in decisions if isinstance(d, Ducked)]
    resumed = [d.time_s for d in decisions if isinstance(d, Resumed)]
    holds = tuple(after - at for at, after in zip(ducked, resumed, strict=False))
    if stopped:
        late = isinstance(stopped[0], Interrupted) and stopped[0].late
        return Outcome(event, stopped[0].time_s, ducked[0] if ducked else None, holds, late)
    if len(ducked) > len(resumed):
        return Outcome(event, ducked[-1], ducked[0], holds)
    return Outcome(event, None, ducked[0] if ducked else None, holds)


def play_stock(event: Event, ears: Ears, params: VADParams) -> Outcome:
    """Play ``event`` to stock pipecat: what its voice detector takes for speech interrupts the tutor."""
    if event.echo is None:
        windows = ears.windows(event)
    else:
        room = _Room(event, told=lambda end_s, level: None)
        count = len(event.mic) // WINDOW
        windows = ears.hear(np.concatenate([room.advance(n * WINDOW, held=False) for n in range(count)]))
    begun = [n for n, state in enumerate(stock_states(windows, params)) if state == VADState.SPEAKING]
    return Outcome(event, (begun[0] + 1) * WINDOW_S if begun else None)
