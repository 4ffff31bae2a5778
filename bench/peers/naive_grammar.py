"""The peer of ``bench guided``: pocketsphinx with a grammar of the expected replies, as its own documentation uses one. Frozen.

A finite-state grammar of whole sentences, equally likely, decoded in one go over the whole utterance (so with its own cepstral
means); its confidence is its own score per frame. Without a search's end in the grammar's last state there is no result.
"""

from __future__ import annotations

from collections.abc import Sequence

from pocketsphinx import Decoder

from pipeline.stt.pronounce import pronounce


class NaiveGrammar:
    """A decoder without a language model; a word that its dictionary lacks is given Parley's guess at its sound."""

    def __init__(self) -> None:
        self._decoder = Decoder(loglevel="FATAL", lm=None)

    def hear(self, pcm16: bytes, expected: Sequence[str]) -> tuple[str | None, float]:
        """The sentence of ``expected`` (lower case, without punctuation) that the grammar found, and its score per frame."""
        transitions: list[tuple[int, int, float, str]] = []
        free = 2
        for sentence in expected:
            words, state = sentence.split(), 0
            for k, word in enumerate(words):
                self._know(word)
                target = 1 if k == len(words) - 1 else free
                free += target != 1
                transitions.append((state, target, 1.0 if k else 1.0 / len(expected), word))
                state = target
        self._decoder.add_fsg("expected", self._decoder.create_fsg("expected", 0, 1, transitions))
        self._decoder.activate_search("expected")
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(pcm16, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        if found is None or found.hypstr not in expected:
            return None, float("-inf")
        return found.hypstr, found.score / self._decoder.n_frames()

    def _know(self, word: str) -> None:
        if self._decoder.lookup_word(word) is None:
            self._decoder.add_word(word, pronounce(word, self._decoder.lookup_word), True)
