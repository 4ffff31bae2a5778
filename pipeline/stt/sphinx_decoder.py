"""One utterance at a time: partials while it is spoken, then its final. Synchronous, no I/O.

Free speech is pocketsphinx's. Its acoustic model wants each utterance's mean cepstrum subtracted, and a decoder that runs
while audio comes in must be given the means beforehand. They are measured apart (``pipeline.stt.cepstra``): chunks are
decoded with the means of the first 1.2 s, for early partials, and again from the start with those of the first 1.8 s
(``MEANS_AT_S``); later only if the means have moved by more than ``MAX_DRIFT``, as after a cough and a pause. An utterance
that ends before 1.8 s gets the means of all of it. So the words are nearly ready when the speaker stops, which a batch decode
of the whole (0.15 of its length) is not. Word error on 72 clips of learners with the means of the first 1.2 s 81.8 %, of the
first 1.8 s 75.8 %, of all 75.2 %, as described 75.4 %; with those of the speaker's utterance before 81.0 %; with
pocketsphinx's own 89.6 %. ``reinit_feat`` before each utterance forgets its predecessor's means and noise estimate, so that
an utterance gives the same result on any worker and after any other call. Where the sound is a telephone's
(``pipeline.stt.narrowband``), the decoder is given cepstra for it (``cepstra.FrontEnd``) in place of audio.

Expected replies are scored over the whole utterance when it is over (``pipeline.stt.guided``; about 20 ms a second of audio).
The final is then one of three: the reply, if its confidence suffices; else the words of free speech; else nothing, where
these are too unsure to be answered, so that the tutor asks to hear it again (``details["unsure"]``).

Confidence. Free speech: a word's posterior probability in the word lattice (pocketsphinx's ``Segment.prob``, acoustic scores
scaled by ``ascale`` = 20); the utterance's is the mean over its words, weighted by duration. It compares what the decoder
considered, so it is too high for speech that resembles nothing it knows. Expected replies: see ``guided.confidence`` and
``guided.Guide.align``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pocketsphinx import Decoder

from agent.record import Word
from pipeline.stt.acoustic_model import AcousticModel
from pipeline.stt.cepstra import Floats, FrontEnd, cepstra
from pipeline.stt.guided import FREE_MIN, Choice, Guide
from pipeline.stt.narrowband import is_narrowband
from pipeline.stt.pronounce import pronounce, tokens
from pipeline.stt.recognition import Abandoned, Recognition

RATE_HZ = 16_000
BYTES_PER_S = 2 * RATE_HZ
FRAME_S = 0.01

CHUNK_S = 0.2
"""Audio decoded at a time; between chunks the decoder can be asked to stop."""
MEANS_AT_S = (1.2, 1.8)
MEANS_CHECK_GROWTH = 1.25
MAX_DRIFT = 0.7
"""Root mean square over the cepstra of (new mean - mean in use) / scale. At 1.8 s the learners' clips were 0.56 (median) and
0.83 (90th percentile) away from the means of their whole."""
_CEPSTRUM_SCALE = (8.0, *[5.0] * 12)
_DEFAULT_MEANS = (40.0, 3.0, -1.0, *[0.0] * 10)  # pocketsphinx's own, for audio that has none
MIN_UTTERANCE_S = 0.1

MAX_HMMS_PER_FRAME = 2000
"""pocketsphinx's ``maxhmmpf``, 30,000 by default. Word error of batch decodes of 72 clips of learners reading aloud and of
flite's voices, and real-time factor on the learners: 30,000: 77.4 %, 1.5 %, 0.25; 2,000: 75.2 %, 2.4 %, 0.15; 1,500: 76.8 %,
2.4 %, 0.13. Narrower beams (1e-40) cost more (79.0 %, 6.0 %) for less (0.19); so does no flat-lexicon pass (79.0 %, 2.1 %,
0.23)."""

MAX_EXPECTED = 160
MAX_EXPECTED_WORDS = 40
MAX_KEPT_WORDS = 5_000

MAX_GUIDED_S = 30.0
"""Longer utterances are free speech: no expected reply is as long, and the time to score them grows with their length."""
MAX_PRONUNCIATIONS = 4


@dataclass(slots=True)
class _Heard:
    """A whole utterance, the words of the first pass of free speech, and those of the second where it was made."""

    cepstra: Floats
    words: str
    free: Recognition | None = None


class SphinxDecoder:
    """pocketsphinx with the English model of its wheel, which takes about 0.5 s to load."""

    def __init__(self) -> None:
        self._live = Decoder(loglevel="FATAL", maxhmmpf=MAX_HMMS_PER_FRAME)
        self._guide = Guide(AcousticModel(), self._pronunciations)
        self._sounds: dict[str, list[list[str]]] = {}
        self._expected: list[str] = []
        self._careful: set[tuple[str, ...]] = set()
        self._audio = bytearray()
        self._at = 0  # bytes of the audio that the live decoder has seen
        self._means: tuple[float, ...] = ()  # in use by the live decoder; empty: it has not started
        self._front_end: FrontEnd | None = None  # of the live decoder, where it is not pocketsphinx's own
        self._narrow = False  # whether the audio came through a telephone, as far as it was last measured on
        self._checked = 0  # bytes of the audio that the means and the band were last measured on
        self._busy_s = 0.0
        self._last: _Heard | None = None  # the utterance finished last
        self.skipped: list[str] = []

    def warm(self) -> None:
        """Decode half a second of near-silence, so that the first utterance finds its pages in memory."""
        self.begin(("yes",))
        self.feed(bytes(range(64)) * (BYTES_PER_S // 128))
        self.finish()

    # One utterance

    def begin(self, expected: Sequence[str] = (), careful: Sequence[str] = ()) -> None:
        """Start an utterance, dropping an open one.

        ``expected`` are whole replies, ``careful`` further ones that must not be taken by mistake, such as a learner's error or
        a goodbye. ``skipped`` tells which cannot be used.
        """
        self.abandon()
        self._audio.clear()
        self._busy_s = 0.0
        self._last = None
        self._expect(expected, careful)

    def feed(self, pcm16: bytes) -> None:
        """More audio: mono pcm16 at 16 kHz. Only kept; ``step`` decodes it."""
        self._audio += pcm16

    @property
    def behind_s(self) -> float:
        """Seconds of audio that are not decoded yet."""
        return (len(self._audio) - self._at) / BYTES_PER_S

    @property
    def busy_s(self) -> float:
        """Seconds spent decoding this utterance."""
        return self._busy_s

    def step(self) -> bool:
        """Decode one chunk of what was fed; false where there is nothing worth doing before more audio comes."""
        if any(self._checked < at_s * BYTES_PER_S <= len(self._audio) for at_s in MEANS_AT_S):
            self._restart()
        elif not self._means or self.behind_s < CHUNK_S:
            return False
        else:
            self._restart_if_drifted()
        self._decode_chunk()
        return True

    def partial(self) -> str:
        """The words so far; they may still change."""
        hypothesis = self._live.hyp() if self._means else None
        return hypothesis.hypstr if hypothesis else ""

    def finish(self, wanted: Callable[[], bool] = lambda: True) -> Recognition:
        """The utterance's final. ``wanted`` is asked between chunks.

        The second pass of free speech (0.2 s after 4 s of speech) is only made where no reply is taken; if it was not made,
        ``abandon`` or the next ``begin`` takes that long.

        ``details`` of an utterance with expected replies: ``best``, the likeliest of them, its ``confidence`` and the
        ``features`` behind it (``guided.Evidence``), whether it was taken or not; ``unsure``: free speech was left out, for
        being too unsure.

        Raises:
            Abandoned: ``wanted`` said no.
        """
        started = time.monotonic()
        audio_s = len(self._audio) / BYTES_PER_S
        result = Recognition("")
        if audio_s >= MIN_UTTERANCE_S:
            self._decode_rest(wanted)
            before = time.monotonic()
            if self._expected and audio_s <= MAX_GUIDED_S:
                self._last = _Heard(self._cepstra(), self.partial())
            result = self._result()
            self._busy_s += time.monotonic() - before
        return Recognition(
            result.text,
            result.words,
            result.confidence,
            result.source,
            audio_s=round(audio_s, 3),
            decode_ms=round(1e3 * self._busy_s, 1),
            final_ms=round(1e3 * (time.monotonic() - started), 1),
            details=result.details,
        )

    def again(self, expected: Sequence[str], careful: Sequence[str] = ()) -> Recognition:
        """What the last final's words and confidence would have been, had these replies been expected.

        Raises:
            RuntimeError: no utterance with expected replies was finished since ``begin``.
        """
        if self._last is None:
            raise RuntimeError("there is no utterance to be heard again")
        self._expect(expected, careful)
        return self._result()

    def abandon(self) -> None:
        """Forget the utterance in progress, if there is one."""
        started, self._means = bool(self._means), ()
        self._at = self._checked = 0
        if started:
            self._live.end_utt()

    # Free speech

    def _restart(self) -> None:
        """Begin the live decode anew, with the means of all audio so far."""
        before = time.monotonic()
        self._narrow = is_narrowband(self._audio)
        self._restart_with(self._measure_means())
        self._busy_s += time.monotonic() - before

    def _restart_if_drifted(self) -> None:
        if len(self._audio) < MEANS_CHECK_GROWTH * self._checked:
            return
        before = time.monotonic()
        narrow = is_narrowband(self._audio)
        changed, self._narrow = narrow != self._narrow, narrow
        means, self._checked = self._measure_means(), len(self._audio)
        squares = (((new - old) / scale) ** 2 for new, old, scale in zip(means, self._means, _CEPSTRUM_SCALE, strict=True))
        if changed or math.sqrt(sum(squares) / len(means)) > MAX_DRIFT:
            self._restart_with(means)
        self._busy_s += time.monotonic() - before

    def _restart_with(self, means: tuple[float, ...]) -> None:
        self.abandon()
        self._live.reinit_feat()
        self._live.set_cmn(",".join(f"{m:g}" for m in means))
        self._live.start_utt()
        self._front_end = FrontEnd(narrow=True) if self._narrow else None
        self._means, self._checked = means, len(self._audio)

    def _decode_chunk(self) -> None:
        before = time.monotonic()
        chunk = bytes(self._audio[self._at : self._at + int(CHUNK_S * BYTES_PER_S)])
        self._at += len(chunk)
        if self._front_end is None:
            self._live.process_raw(chunk)
        else:
            self._process(self._front_end.process(chunk))
        self._busy_s += time.monotonic() - before

    def _decode_rest(self, wanted: Callable[[], bool]) -> None:
        if self._checked < MEANS_AT_S[-1] * BYTES_PER_S:
            self._restart()
        else:
            self._restart_if_drifted()
        while self._at < len(self._audio):
            if not wanted():
                raise Abandoned
            self._decode_chunk()
        if self._front_end is not None:
            self._process(self._front_end.finish())
            self._front_end = None

    def _process(self, cepstra: Floats) -> None:
        if len(cepstra):
            self._live.process_cep(cepstra.tobytes())

    def _free_speech(self) -> Recognition:
        if self._means:
            self._means = ()
            self._live.end_utt()
        words = self._words(self._live)
        spoken_s = sum(w.end_s - w.start_s for w in words)
        confidence = sum((w.confidence or 0.0) * (w.end_s - w.start_s) for w in words) / spoken_s if spoken_s else None
        return Recognition(" ".join(w.text for w in words), tuple(words), confidence)

    def _measure_means(self) -> tuple[float, ...]:
        means = tuple(float(m) for m in self._cepstra().mean(axis=0))
        return means if all(math.isfinite(m) for m in means) else _DEFAULT_MEANS

    def _cepstra(self) -> Floats:
        return cepstra(bytes(self._audio), narrow=self._narrow)

    # Expected replies

    def _result(self) -> Recognition:
        """A reply, free speech or nothing, of the utterance that was decoded last."""
        if self._last is None:
            return self._free_speech()
        choice = self._guide.choose(self._last.cepstra, self._last.words.split())
        if choice is None:
            return self._free_speech()
        text = self._expected[choice.number]
        details = _details(choice, text)
        if choice.taken:
            return Recognition(text, choice.words, round(choice.confidence, 3), "expected", details=details)
        free = self._last.free = self._last.free or self._free_speech()
        if free.text and self._is_unsure(free):
            return Recognition("", confidence=free.confidence, details={**details, "unsure": True})
        return replace(free, details=details)

    def _is_unsure(self, free: Recognition) -> bool:
        """Whether free speech is too unsure, or says no more than a reply that must not be taken by mistake."""
        if (free.confidence or 0.0) < FREE_MIN:
            return True
        said = set(tokens(free.text))
        return any(said <= set(words) for words in self._careful)

    def _expect(self, expected: Sequence[str], careful: Sequence[str]) -> None:
        """Hand the usable replies to the guide; those that cannot be said go to ``skipped``. Plain ones come first."""
        asked = [*((reply, False) for reply in expected), *((reply, True) for reply in careful)]
        self.skipped = []
        usable: dict[tuple[str, ...], tuple[str, bool]] = {}
        for reply, is_careful in asked:
            words = tuple(tokens(reply))
            fits = 0 < len(words) <= MAX_EXPECTED_WORDS and (len(usable) < MAX_EXPECTED or words in usable)
            if fits and all(self._pronunciations(w) for w in words):
                usable.setdefault(words, (reply.strip(), is_careful))
            else:
                self.skipped.append(reply)
        self._expected = [reply for reply, _ in usable.values()]
        self._careful = {words for words, (_, is_careful) in usable.items() if is_careful}
        self._guide.expect(tuple(usable), frozenset(k for k, words in enumerate(usable) if words in self._careful))

    def _pronunciations(self, word: str) -> list[list[str]]:
        """The dictionary's, or a guess; nothing where there is none."""
        known = self._sounds.get(word)
        if known is None:
            numbered = [word, *(f"{word}({k})" for k in range(2, MAX_PRONUNCIATIONS + 1))]
            known = [phones.split() for name in numbered if (phones := self._lookup(name))]
            if not known and (guess := pronounce(word, self._lookup)):
                known = [guess.split()]
            if len(self._sounds) >= MAX_KEPT_WORDS:
                self._sounds.clear()
            self._sounds[word] = known
        return known

    def _lookup(self, word: str) -> str | None:
        return None if "\0" in word else self._live.lookup_word(word)

    @staticmethod
    def _words(decoder: Any) -> list[Word]:
        """The spoken words of the last decode."""
        words: list[Word] = []
        for s in decoder.seg() or ():  # None where nothing was recognised
            if s.word[0] in "<[+":  # silence, noise and sentence marks
                continue
            text = s.word.split("(")[0]  # the dictionary marks a second pronunciation as "and(2)"
            start_s, end_s = round(s.start_frame * FRAME_S, 2), round((s.end_frame + 1) * FRAME_S, 2)
            words.append(Word(text, start_s, end_s, round(min(1.0, s.prob), 3)))
        return words


def _details(choice: Choice, text: str) -> dict[str, Any]:
    features = [round(value, 4) for value in choice.evidence.features()]
    return {"best": text, "confidence": round(choice.confidence, 3), "features": features}


_shared: SphinxDecoder | None = None


def shared() -> SphinxDecoder:
    """This process's one decoder. A fork server that has made it hands it to its forks, their memory shared until written."""
    global _shared
    if _shared is None:
        _shared = SphinxDecoder()
        _shared.warm()
    return _shared


def is_loaded() -> bool:
    """Whether this process has its decoder already."""
    return _shared is not None
