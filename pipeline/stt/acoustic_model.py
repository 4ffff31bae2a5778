"""pocketsphinx's English acoustic model, read from the files of its wheel: how likely each sound is in each frame.

pocketsphinx scores only the sounds that its search has kept so far, relative to the best of these, and stops paths that fall
behind; so the scores of two sentences that were decoded apart cannot be compared, and a learner's accent may leave a sentence
without any score. Here every sound has its full log likelihood.

The model ("ptm", phonetically tied mixtures) has a hidden Markov model of three states for each phone in its context; a state
is one of 5,126 *senones*, and a senone a mixture of the 128 Gaussians of its phone's codebook, in each of three streams: the
cepstra, their slopes and their curvatures. Files: ``mdef`` (contexts and their senones), ``means``, ``variances``,
``sendump`` (mixture weights), ``transition_matrices``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pocketsphinx
from numpy.typing import NDArray

from pipeline.stt.cepstra import Floats

Ints = NDArray[np.int64]
Position = Literal["inside", "first", "last", "only"]
"""Where in its word a phone stands."""

STATES = 3
SILENCE = "SIL"
NOISES = ("+NSN+", "+SPN+")
"""Noise of things, and of people."""

_POSITIONS: dict[Position, int] = {"inside": 0, "first": 1, "last": 2, "only": 3}
_STREAMS, _GAUSSIANS, _CEPSTRA = 3, 128, 13
_BYTE_ORDER = b"\x44\x33\x22\x11"
_VARIANCE_FLOOR = 1e-4
_WEIGHT_STEP = 1024 * np.log(1.0001)
"""Mixture weights are kept as -log(weight) to the base 1.0001, shifted right by 10 bits."""
_LEAST = 1e-30
_BLOCK = 256
"""Frames scored at a time: all Gaussians of one stream are 21 KB a frame."""


class AcousticModel:
    """The model in ``folder`` (default: the one inside pocketsphinx's wheel). About 0.15 s to read, 25 MB.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is not in the format that pocketsphinx 5 ships.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(pocketsphinx.get_model_path()) / "en-us" / "en-us"
        self._read_definition((folder / "mdef").read_bytes())
        self._read_gaussians(_s3(folder / "means"), np.maximum(_s3(folder / "variances"), _VARIANCE_FLOOR))
        self._read_weights((folder / "sendump").read_bytes())
        transitions = _s3(folder / "transition_matrices")
        with np.errstate(divide="ignore"):
            self._transitions = np.log(transitions / transitions.sum(axis=-1, keepdims=True))

    def phone(self, name: str, left: str, right: str, position: Position) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        """Senones of the three states of a phone between two others, and its log transitions, shape ``(3, 4)``.

        Where the model has not met that context, that of another place in the word, then the phone without context.

        Raises:
            KeyError: a phone that the model does not have.
        """
        return self._state(self._find(name, left, right, position))

    def phones(self) -> list[tuple[tuple[int, ...], NDArray[np.float64]]]:
        """The same for each phone without context, silence and noises included."""
        return [self._state(number) for number in range(len(self.names))]

    def scores(self, cepstra: Floats, senones: Sequence[int] | Ints) -> Floats:
        """Log likelihoods of ``senones`` in each frame, shape ``(frames, senones)``; ``cepstra`` as ``cepstra.cepstra``
        gives."""
        wanted = np.asarray(senones, np.int64)
        out = np.zeros((len(cepstra), len(wanted)), np.float32)
        by_codebook = [(cb, at) for cb in range(len(self.names)) if len(at := np.flatnonzero(self._codebook[wanted] == cb))]
        weights = [[self._weights[stream][:, wanted[at]] for stream in range(_STREAMS)] for _, at in by_codebook]
        columns = np.concatenate([np.arange(cb * _GAUSSIANS, (cb + 1) * _GAUSSIANS) for cb, _ in by_codebook])
        for stream, feature in enumerate(_streams(cepstra)):
            gaussians = self._gaussians[stream][:, columns]
            for first in range(0, len(feature), _BLOCK):
                frames = feature[first : first + _BLOCK]
                terms = np.concatenate([frames, frames * frames, np.ones((len(frames), 1), np.float32)], axis=1)
                density = (terms @ gaussians).reshape(len(frames), len(by_codebook), _GAUSSIANS)
                best = density.max(axis=2, keepdims=True)
                np.exp(np.subtract(density, best, out=density), out=density)
                for number, (_, at) in enumerate(by_codebook):
                    mixed = np.maximum(density[:, number] @ weights[number][stream], _LEAST)
                    out[first : first + _BLOCK, at] += np.log(mixed, out=mixed) + best[:, number]
        return out

    @cached_property
    def phone_set(self) -> frozenset[str]:
        """The phones that words are made of."""
        return frozenset(self.names) - {SILENCE, *NOISES}

    def _state(self, number: int) -> tuple[tuple[int, ...], NDArray[np.float64]]:
        return tuple(int(s) for s in self._sequences[self._sequence_of[number]]), self._transitions[
            self._matrix_of[number], :STATES
        ]

    def _find(self, name: str, left: str, right: str, position: Position) -> int:
        base = self._number[name]
        if name not in self.phone_set:
            return base
        first = _POSITIONS[position]
        context = (base << 8 | self._number[left]) << 8 | self._number[right]
        for place in (first, *(p for p in _POSITIONS.values() if p != first)):
            key = place << 24 | context
            at = int(np.searchsorted(self._contexts, key))
            if at < len(self._contexts) and self._contexts[at] == key:
                return int(self._context_phones[at])
        return base

    def _read_definition(self, raw: bytes) -> None:
        if raw[:4] != b"BMDF":
            raise ValueError("the acoustic model's mdef is not in pocketsphinx's binary format")
        at = 12 + struct.unpack_from("<i", raw, 8)[0]
        n_base, n_phones, n_states, _, n_senones, _, n_sequences, _, n_tree, _ = struct.unpack_from("<10i", raw, at)
        if n_states != STATES:
            raise ValueError(f"the acoustic model has {n_states} states a phone, {STATES} are needed")
        at += 40
        start, self.names = at, []
        for _ in range(n_base):
            end = raw.index(b"\0", at)
            self.names.append(raw[at:end].decode("ascii"))
            at = end + 1
        at += -(at - start) % 4
        at += 8 * n_tree
        entry = np.dtype([("sequence", "<i4"), ("matrix", "<i4"), ("position", "u1"), ("context", "u1", 3)])
        phones = np.frombuffer(raw, entry, n_phones, at)
        at += phones.nbytes + 4
        self._sequences = np.frombuffer(raw, "<u2", n_sequences * STATES, at).reshape(n_sequences, STATES).astype(np.int64)
        self._sequence_of, self._matrix_of = phones["sequence"].astype(np.int64), phones["matrix"].astype(np.int64)
        self._number = {name: number for number, name in enumerate(self.names)}

        base, left, right = phones["context"][n_base:].astype(np.int64).T
        keys = phones["position"][n_base:].astype(np.int64) << 24 | base << 16 | left << 8 | right
        order = np.argsort(keys)
        self._contexts, self._context_phones = keys[order], order + n_base

        self._codebook = np.zeros(n_senones, np.int64)
        of_phone = np.concatenate([np.arange(n_base), base])
        self._codebook[self._sequences[self._sequence_of]] = of_phone[:, None]

    def _read_gaussians(self, means: Floats, variances: Floats) -> None:
        shape = (len(self.names), _STREAMS, _GAUSSIANS, _CEPSTRA)
        if means.shape != shape or variances.shape != shape:
            raise ValueError(f"the acoustic model's Gaussians have the shape {means.shape}, {shape} is needed")
        # log N(x) = x·m/v - x²/2v + const, so that one matrix product gives all of a stream.
        precise = variances.astype(np.float64)
        constant = -0.5 * (np.log(2 * np.pi * precise) + means**2 / precise).sum(axis=-1, keepdims=True)
        terms = np.concatenate([means / precise, -0.5 / precise, constant], axis=-1).astype(np.float32)
        self._gaussians = [np.ascontiguousarray(terms[:, s].reshape(-1, 2 * _CEPSTRA + 1).T) for s in range(_STREAMS)]

    def _read_weights(self, raw: bytes) -> None:
        size = _STREAMS * _GAUSSIANS * len(self._codebook)
        if len(raw) < size or b"cluster_count 0\0" not in raw[:-size]:
            raise ValueError("the acoustic model's sendump is not in the format of pocketsphinx's wheel")
        steps = np.frombuffer(raw, np.uint8, size, len(raw) - size).reshape(_STREAMS, _GAUSSIANS, -1)
        self._weights = np.exp(-_WEIGHT_STEP * np.arange(256)).astype(np.float32)[steps]


def _s3(path: Path) -> Floats:
    """The array in one of CMU's parameter files. Means and variances: ``(phones, streams, Gaussians, 13)``."""
    raw = path.read_bytes()
    at = raw.find(b"endhdr\n") + 7
    if raw[at : at + 4] != _BYTE_ORDER:
        raise ValueError(f"the acoustic model's {path.name} is not in CMU's format")
    at += 4
    matrices, second, third = struct.unpack_from("<3i", raw, at)
    if path.name == "transition_matrices":
        return np.frombuffer(raw, "<f4", matrices * second * third, at + 16).reshape(matrices, second, third)
    return np.frombuffer(raw, "<f4", matrices * second * third * _CEPSTRA, at + 28).reshape(matrices, second, third, -1)


def _streams(cepstra: Floats) -> tuple[Floats, Floats, Floats]:
    """Cepstra without their mean, their slopes over 4 frames, and the differences of these over 2: "1s_c_d_dd"."""
    centred = cepstra - cepstra.mean(axis=0)
    padded = np.concatenate([centred[:1].repeat(3, axis=0), centred, centred[-1:].repeat(3, axis=0)])
    later = {k: padded[3 + k : 3 + k + len(centred)] for k in range(-3, 4)}
    return centred, later[2] - later[-2], (later[3] - later[-1]) - (later[1] - later[-3])
