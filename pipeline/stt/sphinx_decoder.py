"""One utterance at a time through pocketsphinx: partials while it is spoken, then its final. Synchronous, no I/O.

Cepstral means. The acoustic model wants each utterance's mean cepstrum subtracted. pocketsphinx can take the mean of a whole
utterance (``process_raw(full_utt=True)``) or run with means given beforehand; one chunk processed the second way switches that
decoder to it until ``reinit_feat``, a later ``full_utt`` included. Two decoders keep them apart and can take turns within an
utterance. ``_whole`` only ever sees whole utterances: it measures means and decodes grammars. ``_live`` holds the language
model and decodes chunks with the means that ``_whole`` gave: those of the first 1.2 s, for early partials, and again from the
start with those of the first 1.8 s (``MEANS_AT_S``); later only if the means have moved by more than ``MAX_DRIFT``, as after a
cough and a pause. An utterance that ends before 1.8 s gets the means of all of it. So the words are nearly ready when the
speaker stops, which a batch decode of the whole (0.15 of its length) is not. Word error on 72 clips of learners with the means
of the first 1.2 s 81.8 %, of the first 1.8 s 75.8 %, of all 75.2 %, as described 75.4 %; with those of the speaker's utterance
before 81.0 %; with pocketsphinx's own 89.6 %. ``reinit_feat`` before each utterance forgets its predecessor's means and noise
estimate, so that an utterance gives the same result on any worker and after any other call.

Confidence. Free speech: a word's posterior probability in the word lattice (pocketsphinx's ``Segment.prob``, acoustic scores
scaled by ``ascale`` = 20); the utterance's is the mean over its words, weighted by duration. It compares what the decoder
considered, so it is too high for speech that resembles nothing it knows. Expected replies: a grammar decode has no rivals and
all its posteriors are 1, so the number is a logistic of the acoustic score per 10 ms frame (``expected_confidence``): it orders
results, it is no probability.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from pocketsphinx import Decoder

from agent.record import Word
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

MAX_EXPECTED = 64
MAX_EXPECTED_WORDS = 40
MAX_GUESSED_WORDS = 2_000

EXPECTED_MIN_SCORE = -34.0
EXPECTED_MIN_COVER = 0.75
"""When an expected reply is taken: the acoustic score per frame of its words, and how long they last in proportion to the words
of free speech. A grammar can put a short reply where it fits and call the rest noise, which the second tells. Found on 72 clips
of learners, each against 15 sentences, 7 of them short ones such as "yes": of the right replies 87 % are taken, of the wrong
ones 1 % (13 % by the score alone)."""
_EXPECTED_SPREAD = 4.0
_SCORE_SHIFT = 1 << 10  # pocketsphinx keeps acoustic scores shifted left by SENSCR_SHIFT = 10


def expected_confidence(score: float) -> float:
    """0..1 for an acoustic score per frame: 0.5 at ``EXPECTED_MIN_SCORE``."""
    return 1.0 / (1.0 + math.exp(-(score - EXPECTED_MIN_SCORE) / _EXPECTED_SPREAD))


class SphinxDecoder:
    """pocketsphinx with the English model of its wheel; both decoders take about 0.5 s to make and 130 MB."""

    def __init__(self) -> None:
        self._live = Decoder(loglevel="FATAL", maxhmmpf=MAX_HMMS_PER_FRAME)
        self._whole = Decoder(loglevel="FATAL", lm=None)
        self._guessed: set[str] = set()
        self._expected: dict[tuple[str, ...], str] = {}
        self._audio = bytearray()
        self._at = 0  # bytes of the audio that the live decoder has seen
        self._means: tuple[float, ...] = ()  # in use by the live decoder; empty: it has not started
        self._checked = 0  # bytes of the audio that the means were last measured on
        self._busy_s = 0.0
        self.skipped: list[str] = []
        self._use_grammar("means", [(("yes",), "yes")])

    def warm(self) -> None:
        """Decode half a second of near-silence, so that the first utterance finds its pages in memory."""
        self.begin(())
        self.feed(bytes(range(64)) * (BYTES_PER_S // 128))
        self.finish()

    # One utterance

    def begin(self, expected: Sequence[str] = ()) -> None:
        """Start an utterance, dropping an open one. ``expected`` are whole replies; ``skipped`` tells which cannot be used."""
        self.abandon()
        self._audio.clear()
        self._busy_s = 0.0
        self._expected = self._usable(expected)
        if self._expected:
            self._use_grammar("expected", list(self._expected.items()))

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

        An expected reply is taken if its grammar explains the audio (``EXPECTED_MIN_SCORE``, ``EXPECTED_MIN_COVER``); otherwise
        the result is free speech.

        Raises:
            Abandoned: ``wanted`` said no.
        """
        started = time.monotonic()
        audio_s = len(self._audio) / BYTES_PER_S
        result = Recognition("")
        if audio_s >= MIN_UTTERANCE_S:
            self._decode_rest(wanted)
            result = self._expected_reply() or self._free_speech()
        self.abandon()
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
        means = self._measure_means()
        self._restart_with(means)
        self._busy_s += time.monotonic() - before

    def _restart_if_drifted(self) -> None:
        if len(self._audio) < MEANS_CHECK_GROWTH * self._checked:
            return
        before = time.monotonic()
        means, self._checked = self._measure_means(), len(self._audio)
        squares = (((new - old) / scale) ** 2 for new, old, scale in zip(means, self._means, _CEPSTRUM_SCALE, strict=True))
        if math.sqrt(sum(squares) / len(means)) > MAX_DRIFT:
            self._restart_with(means)
        self._busy_s += time.monotonic() - before

    def _restart_with(self, means: tuple[float, ...]) -> None:
        self.abandon()
        self._live.reinit_feat()
        self._live.set_cmn(",".join(f"{m:g}" for m in means))
        self._live.start_utt()
        self._means, self._checked = means, len(self._audio)

    def _decode_chunk(self) -> None:
        before = time.monotonic()
        chunk = bytes(self._audio[self._at : self._at + int(CHUNK_S * BYTES_PER_S)])
        self._at += len(chunk)
        self._live.process_raw(chunk)
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

    def _free_speech(self) -> Recognition:
        before = time.monotonic()
        self._means = ()
        self._live.end_utt()
        words = [w for w, _score in self._words(self._live)]
        self._busy_s += time.monotonic() - before
        spoken_s = sum(w.end_s - w.start_s for w in words)
        confidence = sum((w.confidence or 0.0) * (w.end_s - w.start_s) for w in words) / spoken_s if spoken_s else None
        return Recognition(" ".join(w.text for w in words), tuple(words), confidence)

    # Whole utterances: means and grammars

    def _measure_means(self) -> tuple[float, ...]:
        self._whole.activate_search("means")
        self._decode_whole(bytes(self._audio))
        means = tuple(float(m) for m in self._whole.get_cmn(False).split(","))
        return means if all(math.isfinite(m) for m in means) else _DEFAULT_MEANS

    def _decode_whole(self, pcm16: bytes) -> None:
        self._whole.reinit_feat()
        self._whole.start_utt()
        self._whole.process_raw(pcm16, full_utt=True)
        self._whole.end_utt()

    def _expected_reply(self) -> Recognition | None:
        if not self._expected:
            return None
        before = time.monotonic()
        self._whole.activate_search("expected")
        self._decode_whole(bytes(self._audio))
        scored = self._words(self._whole)
        free = self._words(self._live)
        self._busy_s += time.monotonic() - before
        text = self._expected.get(tuple(w.text for w, _score in scored))
        if text is None:
            return None
        frames = sum(_frames(w) for w, _score in scored)
        score = sum(s for _word, s in scored) / frames
        cover = frames / max(1, sum(_frames(w) for w, _score in free))
        if score < EXPECTED_MIN_SCORE or cover < EXPECTED_MIN_COVER:
            return None
        words = tuple(Word(w.text, w.start_s, w.end_s, round(expected_confidence(s / _frames(w)), 3)) for w, s in scored)
        return Recognition(
            text,
            words,
            round(expected_confidence(score), 3),
            "expected",
            details={"score": round(score, 2), "cover": round(cover, 2)},
        )

    def _usable(self, expected: Sequence[str]) -> dict[tuple[str, ...], str]:
        """Replies by their words; those that cannot be put into a grammar go to ``skipped``."""
        self.skipped = list(expected[MAX_EXPECTED:])
        usable: dict[tuple[str, ...], str] = {}
        for reply in expected[:MAX_EXPECTED]:
            words = tuple(tokens(reply))
            if 0 < len(words) <= MAX_EXPECTED_WORDS and all(self._pronounceable(w) for w in words):
                usable.setdefault(words, reply.strip())
            else:
                self.skipped.append(reply)
        return usable

    def _pronounceable(self, word: str) -> bool:
        if self._whole.lookup_word(word) is not None:
            return True
        phones = pronounce(word, self._whole.lookup_word)
        if phones is None or len(self._guessed) >= MAX_GUESSED_WORDS:
            return False
        try:
            self._whole.add_word(word, phones, False)
        except RuntimeError:
            return False
        self._guessed.add(word)
        return True

    def _use_grammar(self, name: str, replies: Sequence[tuple[tuple[str, ...], str]]) -> None:
        """A finite-state grammar of whole replies, equally likely: state 0 to state 1, one chain of states each."""
        transitions: list[tuple[int, int, float, str]] = []
        free = 2
        for words, _reply in replies:
            state = 0
            for k, word in enumerate(words):
                last = k == len(words) - 1
                target = 1 if last else free
                free += 0 if last else 1
                transitions.append((state, target, 1.0 / len(replies) if k == 0 else 1.0, word))
                state = target
        self._whole.add_fsg(name, self._whole.create_fsg(name, 0, 1, transitions))
        self._whole.activate_search(name)

    @staticmethod
    def _words(decoder: Any) -> list[tuple[Word, float]]:
        """The spoken words of the last decode, each with its acoustic score (log, base 1.0001, unshifted)."""
        logmath = decoder.get_logmath()
        words: list[tuple[Word, float]] = []
        for s in decoder.seg() or ():  # None where nothing was recognised
            if s.word[0] in "<[+":  # silence, noise and sentence marks
                continue
            score = logmath.log(s.ascore) / _SCORE_SHIFT if s.ascore > 0 else -math.inf
            text = s.word.split("(")[0]  # the dictionary marks a second pronunciation as "and(2)"
            start_s, end_s = round(s.start_frame * FRAME_S, 2), round((s.end_frame + 1) * FRAME_S, 2)
            words.append((Word(text, start_s, end_s, round(min(1.0, s.prob), 3)), score))
        return words


def _frames(word: Word) -> int:
    return round((word.end_s - word.start_s) / FRAME_S)


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
