"""The voices of a text-to-speech model: where their files are, and what the model's attention needs of them.

What a voice costs (a product in every layer, and for the 1.6B 82 MB in bfloat16) depends on the voice alone. So it is computed
when the voice is first used, and all slots that speak with it share it. The bank has a fixed number of places, because a
captured graph reads fixed tensors, and because a step attends to every place; a place whose voice nobody speaks with is taken
by the next voice, the longest unused one first.

A model of the kind that is supported here takes guidance as a condition (it was distilled), which like all summed conditions
is the same for every slot.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import snapshot_download
from moshi.conditioners import ConditionAttributes, TensorCondition
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engines.kyutai.model.interface import Floats
from engines.kyutai.model.transformer import CrossKeys, cross_keys

HUB = "hf://"
TENSOR = "speaker_wavs"
"""What a voice is called in its file and among the model's conditions."""
SPEAKERS = 5
"""Voices that the model can be shown at once, for dialogues; one is used here, the others are left out as in training."""


def voice_folder(voices: str, suffix: str) -> Path:
    """Where the voices are: ``voices`` itself, or for ``hf://owner/name`` the folder of this repository on the hub, of which
    the files of this model's voices are downloaded where they are not there.

    :raises ValueError: where the repository cannot be had
    """
    if not voices.startswith(HUB):
        return Path(voices)
    try:
        return Path(snapshot_download(voices.removeprefix(HUB), allow_patterns=f"*{suffix}"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"voices: {voices} cannot be had from the hub: {reason}") from error


def voice_names(folder: Path | str, suffix: str) -> dict[str, Path]:
    """The voices in ``folder`` and below, by name: the path of the file in the folder without ``suffix``, which names the
    model that they were made for."""
    folder = Path(folder)
    files = sorted(folder.rglob(f"*{suffix}"))
    return {str(file.relative_to(folder)).removesuffix(suffix): file for file in files}


class Voices:
    """``lm``: moshi's ``LMModel``. ``names``: the files of the voices. ``default``: the name of the one that is taken where
    none is asked for. ``guidance``: the value of the guidance condition, ``None`` for a model that has none. ``places``:
    voices that can be spoken with at the same time.

    ``sum``: what is added to every input of the model, ``[dim]``.

    :raises KeyError: where no voice has the default's name
    :raises ValueError: where the default's file is of another kind, or the model takes no voices
    """

    def __init__(self, lm: Any, names: dict[str, Path], default: str, *, guidance: float | None, places: int) -> None:
        if lm.condition_provider is None or TENSOR not in lm.condition_provider.conditioners or not lm.fuser.fuse2cond["cross"]:
            raise ValueError("the model takes no voices: only those that attend to a voice's embedding are supported")
        self._lm = lm
        self._names = names
        self._default = default
        self._text = {"control": "ok", "cfg": None if guidance is None else format(guidance, ".1f")}
        self._embeddings: dict[str, Tensor] = {}
        self._shape: torch.Size | None = None
        self._users: list[int] = [0] * places
        self._places: OrderedDict[str, int] = OrderedDict()  # the one that was used last at the end
        self._free = list(range(places))
        embedding = self._embedding(default)
        self._shape = embedding.shape
        conditions = self._conditions(embedding)
        summed = lm.fuser.get_sum(conditions)
        self.sum: Tensor = torch.zeros(lm.dim, device=lm.device, dtype=lm.dtype)
        if summed is not None:
            self.sum = summed[0, 0].to(lm.dtype)
        keys = [cross_keys(layer, self._source(conditions))[0] for layer in lm.transformer.layers]
        # [layers, keys and values, places, heads, length, head_dim]
        self._bank = torch.zeros(len(keys), 2, places, *keys[0].shape[1:], device=lm.device, dtype=lm.dtype)
        self.cross: list[CrossKeys] = [(layer[0], layer[1]) for layer in self._bank]
        """Keys and values of all places, for each layer."""
        self.done(self.use(None))

    @property
    def names(self) -> list[str]:
        """All voices that have a name."""
        return list(self._names)

    @property
    def voice_bytes(self) -> int:
        """Memory that one voice takes on the device."""
        return self._bank[:, :, 0].nbytes

    def use(self, voice: str | Floats | None) -> int:
        """The place of a voice, which stays its own until ``done``. A voice that has none yet gets one.

        :raises KeyError: where no voice has this name
        :raises ValueError: where an embedding has a wrong shape, a file cannot be read, or all places are in use
        """
        key, embedding = self._known(voice)
        place = self._places.get(key)
        if place is None:
            embedding = self._embedding(key) if embedding is None else embedding
            place = self._room()
            self._write(place, embedding)
            self._places[key] = place
        self._places.move_to_end(key)
        self._users[place] += 1
        return place

    def done(self, place: int) -> None:
        """Somebody does not speak with it any more."""
        self._users[place] -= 1

    def _known(self, voice: str | Floats | None) -> tuple[str, Tensor | None]:
        if voice is None:
            return self._default, None
        if isinstance(voice, str):
            if voice not in self._names:
                raise KeyError(voice)
            return voice, None
        embedding = torch.from_numpy(np.ascontiguousarray(voice, dtype=np.float32))
        if embedding.ndim == 2:
            embedding = embedding[None]
        if embedding.shape != self._shape:
            raise ValueError(f"voice: an embedding of the shape {list(self._shape or ())} is wanted, not {list(voice.shape)}")
        return "own " + hashlib.sha256(embedding.numpy().tobytes()).hexdigest(), embedding

    def _embedding(self, name: str) -> Tensor:
        if name not in self._embeddings:
            path = self._names[name]
            try:
                embedding = load_file(path)[TENSOR].float()
            except (OSError, KeyError, SafetensorError) as e:
                raise ValueError(f"voice: {path.name} cannot be read as a voice: {e}") from e
            if embedding.ndim != 3 or embedding.shape != (self._shape or embedding.shape):
                raise ValueError(f"voice: {path.name} has the shape {list(embedding.shape)}, not {list(self._shape or ())}")
            self._embeddings[name] = embedding
        return self._embeddings[name]

    def _room(self) -> int:
        if self._free:
            return self._free.pop(0)
        unused = next((key for key, place in self._places.items() if self._users[place] == 0), None)
        if unused is None:
            raise ValueError(f"voice: {len(self._users)} different voices are spoken with already")
        return self._places.pop(unused)

    @torch.no_grad()
    def _write(self, place: int, embedding: Tensor) -> None:
        source = self._source(self._conditions(embedding))
        for layer, bank in zip(self._lm.transformer.layers, self._bank, strict=True):
            for into, part in zip(bank, cross_keys(layer, source), strict=True):
                into[place] = part[0]

    @torch.no_grad()
    def _conditions(self, embedding: Tensor) -> Any:
        """As ``TTSModel.make_condition_attributes`` does for one voice. ``embedding``: ``[1, voice_dim, frames]``."""
        _, dim, frames = embedding.shape
        tensor = torch.zeros(1, SPEAKERS * frames, dim)
        tensor[:, :frames] = embedding.transpose(1, 2)
        mask = torch.zeros(1, SPEAKERS * frames, dtype=torch.bool)
        mask[:, :frames] = True
        attributes = ConditionAttributes(text=dict(self._text), tensor={TENSOR: TensorCondition(tensor, mask)})
        return self._lm.condition_provider.prepare_and_provide([attributes])

    def _source(self, conditions: Any) -> Tensor:
        return self._lm.fuser.get_cross(conditions).to(self._lm.dtype)
