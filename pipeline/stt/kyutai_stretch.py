"""The stretch of speech that has no final yet: its sound, and what is made of the words that were heard in it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.stt.audio_ring import AudioRing
from pipeline.stt.kyutai_words import HeardWord, joined, timed
from pipeline.stt.recognition import Recognition

RATE_HZ = 16_000
PRE_ROLL_S = 0.35
MIN_PRE_ROLL_S = 0.5
"""As long as a voice may have been there before the voice detector told of it."""
_KEEP_S = 60.0
"""The longest stretch of speech that the spare engine is given whole."""
_IDLE_KEEP_S = 2.0
_TAIL_S = 0.1
"""So much sound of after its end goes with a stretch."""

NoiseCheck = Callable[[Sequence[str], bytes, float], bool]


class Stretch:
    """Mono pcm16 at 16 kHz; places are seconds of the audio that this stage was given.

    ``is_noise`` says of words, their sound and how long the voice lasted whether they were read into a noise.
    """

    def __init__(self, is_noise: NoiseCheck) -> None:
        self._is_noise = is_noise
        self._audio = AudioRing(RATE_HZ, _KEEP_S)
        self._capture_shift_s = 0.0  # from places in the audio to the call's own
        self.start_s: float | None = None
        """Where it begins; ``None`` where nobody has spoken since the last final."""

    def add(self, pcm16: bytes) -> None:
        """Audio of the call."""
        self._audio.add(pcm16)
        if self.start_s is None and self._audio.end - self._audio.start > 2 * _IDLE_KEEP_S * RATE_HZ:
            self._audio.forget(self._audio.end - round(_IDLE_KEEP_S * RATE_HZ))

    def captured(self, end_s: float) -> None:
        """What was added last ended at ``end_s`` of the call."""
        self._capture_shift_s = end_s - self._audio.end_s

    def mute(self) -> None:
        """Forget the sound, but not how much there was."""
        self._audio.clear()

    def begin(self, now_s: float, detected_within_s: float, final_until_s: float) -> float:
        """A voice begins, of which its detector told ``detected_within_s`` late; what was final already is no part of it.

        Returns the beginning of the stretch, which is an earlier one where that has no final yet.
        """
        if self.start_s is None:
            self.start_s = max(now_s - max(MIN_PRE_ROLL_S, detected_within_s + PRE_ROLL_S), final_until_s)
        return self.start_s

    def sound(self, until_s: float) -> tuple[bytes, float]:
        """Its sound, as far as that is kept, and where in the call it begins."""
        start_s = self.start_s or 0.0
        pcm16 = self._audio.since(round(start_s * RATE_HZ), round(until_s * RATE_HZ) + round(_TAIL_S * RATE_HZ))
        return pcm16, start_s + self._capture_shift_s

    def recognition(self, words: Sequence[HeardWord], until_s: float, *, engine: str) -> Recognition:
        """What ``engine`` heard in it, with times for the record."""
        began_s = min(self.start_s if self.start_s is not None else until_s, *(word.start_s for word in words), until_s)
        return Recognition(
            joined(words),
            timed(words, began_s, until_s),
            audio_s=round(until_s - began_s, 3),
            started_s=began_s + self._capture_shift_s,
            details={"engine": engine},
        )

    def is_noise(self, words: Sequence[str], until_s: float) -> bool:
        """Whether ``words`` were read into a noise."""
        if self.start_s is None:
            return False
        pcm16 = self._audio.since(round(self.start_s * RATE_HZ), round(until_s * RATE_HZ))
        return self._is_noise(words, pcm16, until_s - self.start_s - MIN_PRE_ROLL_S)

    def without_noise(self, recognition: Recognition, until_s: float) -> Recognition:
        """``recognition``, or an empty one that names as ``noise`` what was only read into it."""
        if not recognition.text or not self.is_noise(recognition.text.split(), until_s):
            return recognition
        details = {**recognition.details, "noise": recognition.text}
        return Recognition("", started_s=recognition.started_s, details=details)
