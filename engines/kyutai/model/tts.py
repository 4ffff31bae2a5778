"""Text to speech, many sessions at once, on moshi's weights.

In a step the backbone reads what was fed and made last and says whether the next word is to begin; the machine (``machine.py``)
says which text is fed next; the depth transformer makes the audio tokens, and Mimi makes their audio. The audio is later than
the text by ``delay`` steps, and the acoustic codebooks are later than the first by the model's own delays. So the first steps
make no audio: in a batch of such steps alone, neither the depth transformer nor Mimi are run.

All of a step is on the device, in tensors that stay where they are, so that it can be captured. The host hands over the words
that have become ripe, and fetches one tensor of results. All whole numbers of a slot stand in one row of ``_desk``: the
machine's columns, the last audio tokens, the rings of words. What the host changes there, an admission included, is one
indexed write for all slots together.

With fewer codebooks than the model has (``n_q``), the others are not computed and not fed, as in moshi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.kyutai.model.depformer import Depformer
from engines.kyutai.model.interface import FRAME_SAMPLES, Floats, TtsOutput
from engines.kyutai.model.machine import COLUMNS, MUTABLE, NOTHING, PAD, Column, Rules, advance
from engines.kyutai.model.mimi_decoder import MimiDecoder
from engines.kyutai.model.rows import Rows, lowest
from engines.kyutai.model.sampling import Sampling, choose, gumbel
from engines.kyutai.model.script import ROW, Script
from engines.kyutai.model.transformer import RingTransformer, norm
from engines.kyutai.model.tts_checkpoint import TtsParts
from engines.kyutai.model.tts_tables import TextTable, input_table
from engines.kyutai.model.voices import Voices
from engines.kyutai.schedule.buckets import Batch, Buckets

WORDS, TOKENS = 32, 1024
"""Sizes of a slot's rings: words, and text tokens of words."""
FINAL_PADDING = 4
"""Steps after the last word whose audio is still made."""
_RESULTS = 3  # numbers of a row that go to the host beside its audio
_CHANGES = 1 << 16  # numbers that are sent to the device at once


@dataclass
class _Slot:
    """What the host knows of a slot: its voice's place, steps made, and from which token on the device needs its text."""

    script: Script
    place: int
    steps: int = 0
    kept: int = 0


class BatchedTts:
    """``parts``: a model as loaded. ``voices``: the files of the voices by their names. ``default_voice``: one of these names.
    ``n_q``: codebooks that are made, all of them by default. ``temp``: temperature of text and audio, 0 for the most probable
    tokens. ``cfg_coef``: guidance, one of the values that the model was distilled for. ``voice_places``: voices that can be
    spoken with at the same time. ``wait``: words behind a word that have to be known before it begins, where the end is not;
    by default as many as the model was trained to be shown. With fewer, speech begins sooner, and what is said depends on when
    the words come.

    :raises KeyError: where no voice has the default's name
    :raises ValueError: where the model cannot be served so; the text says why
    """

    def __init__(
        self,
        parts: TtsParts,
        buckets: Buckets,
        *,
        voices: dict[str, Path],
        default_voice: str,
        n_q: int | None = None,
        temp: float = 0.6,
        cfg_coef: float | None = 2.0,
        voice_places: int = 8,
        wait: int | None = None,
    ) -> None:
        lm = parts.lm
        self.buckets = buckets
        self.slots = buckets.slots
        self.n_q = lm.dep_q if n_q is None else n_q
        self.frame_rate = float(parts.mimi.frame_rate)
        self.ahead = parts.ahead if wait is None else min(wait, parts.ahead)
        """Words behind a word that have to be known before it can begin, where the end is not."""
        self.device = lm.device
        self._lm = lm
        self._delay = parts.delay
        delays = lm.delays[lm.audio_offset :]
        self._lag = max(lm.delays)
        self._rules = Rules(parts.ahead)
        self._audio = Sampling(temp, 250)
        self._text = Sampling(temp, 25)
        self._depformer = Depformer(lm, n_q=self.n_q, rows=self.slots)
        self._mimi = MimiDecoder(parts.mimi, n_q=self.n_q, slots=self.slots)
        self._ring = RingTransformer(lm.transformer, self.slots)
        guidance = _guidance(parts.guidance, cfg_coef)
        self._voices = Voices(lm, voices, default_voice, guidance=guidance, places=min(voice_places, self.slots))
        self._inputs = input_table(lm, self.n_q)
        self._depth_text = TextTable(lm.depformer_text_emb)
        self._fresh = self._rules.fresh(lm.text_initial_token_id)
        self._delays = torch.tensor(delays[: self.n_q], device=self.device)
        # A slot's row: the columns, the last audio tokens of each codebook, the ring of words, the ring of tokens.
        self._history = self._lag + 1
        widths = (COLUMNS, self.n_q * self._history, WORDS * ROW, TOKENS)
        self._starts = np.cumsum((0, *widths)).tolist()
        self._desk = torch.zeros(self.slots, sum(widths), dtype=torch.long, device=self.device)
        self._ages = torch.arange(self._history, device=self.device)
        self._live: dict[int, _Slot] = {}
        self._changes: dict[int, int] = {}
        self._makes_fixed_tensors()
        self._graphs = self._captured() if self.device.type == "cuda" else {}

    @property
    def slot_bytes(self) -> int:
        """Memory that one slot takes on the device, without its share of a voice."""
        tensors = (self._desk, self._mimi.past)
        return sum(t[0].nbytes for t in tensors) + self._ring.ring[:, 0].nbytes + self._mimi.ring.ring[:, 0].nbytes

    @property
    def voice_bytes(self) -> int:
        """Memory that one voice takes on the device, however many speak with it."""
        return self._voices.voice_bytes

    @property
    def voices(self) -> list[str]:
        """The names of all voices."""
        return self._voices.names

    def admit(self, slot: int, voice: str | Floats | None, seed: int) -> None:
        """As in ``TtsModel``.

        :raises ValueError: also where too many different voices are spoken with, or the voice's file is broken
        """
        self.free(slot)
        place = self._voices.use(voice)
        script = Script(ahead=self._rules.ahead, pad=PAD, words=WORDS, tokens=TOKENS, wait=self.ahead)
        self._live[slot] = _Slot(script, place)
        columns = {Column.KNOWN: 0, Column.SEED: (seed + 2**63) % 2**64 - 2**63, Column.VOICE: place}
        self._change(slot, 0, [*self._fresh, *(columns[Column(c)] for c in range(MUTABLE, COLUMNS))])
        self._mimi.past[slot].zero_()

    def give(self, slot: int, tokens_of_words: list[list[int]]) -> None:
        """As in ``TtsModel``. A word of padding tokens only is a pause of so many frames.

        :raises ValueError: where a word has no tokens or too many
        """
        self._live[slot].script.give(tokens_of_words)

    def end(self, slot: int) -> None:
        """As in ``TtsModel``."""
        self._live[slot].script.end()

    def free(self, slot: int) -> None:
        """As in ``TtsModel``; nothing where nobody has the slot."""
        one = self._live.pop(slot, None)
        if one is not None:
            self._voices.done(one.place)

    def step(self, batch: Batch) -> TtsOutput:
        """As in ``TtsModel``. A slot whose next word is not known yet makes no step: it begins no word, and has no audio."""
        stepping = self.prepare(batch)
        before = [self._live[slot].steps for slot in batch.slots]
        count = len(batch.slots)
        made = np.zeros((count, _RESULTS + FRAME_SAMPLES), np.float32)
        if stepping:
            full = any(self._live[slot].steps >= self._delay for slot in stepping)
            made = self._run(batch, [row in stepping for row in batch.rows], full)
        words, audio, done = np.zeros(count, np.int64), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        for i, slot in enumerate(batch.slots):
            if slot not in stepping:
                continue
            one = self._live[slot]
            took, ended_at, one.kept = (int(number) for number in made[i, :_RESULTS])
            one.steps += 1
            one.script.begun += took
            words[i] = took
            audio[i] = before[i] >= self._delay + self._lag
            done[i] = ended_at >= 0 and one.steps >= ended_at + self._delay + FINAL_PADDING + self._lag
        return TtsOutput(made[:, _RESULTS:].copy(), audio, words, np.array(before, np.int64), done)

    def prepare(self, batch: Batch) -> set[int]:
        """Hands what has changed to the device, as a step begins with. Returns the slots that can step."""
        stepping = {slot for slot in batch.slots if self._ready(slot)}
        self._hand_over()
        return stepping

    def _ready(self, slot: int) -> bool:
        one = self._live[slot]
        if news := one.script.news(one.kept):
            _, _, words, tokens, _ = self._starts
            for index, row in enumerate(news.rows, news.first_row):
                self._change(slot, words + index % WORDS * ROW, row)
            for index, token in enumerate(news.tokens, news.first_token):
                self._change(slot, tokens + index % TOKENS, (token,))
            self._change(slot, Column.KNOWN, (news.known,))
        return one.script.ready

    def _change(self, slot: int, start: int, numbers: Sequence[int]) -> None:
        self._changes.update(enumerate(numbers, slot * self._desk.shape[1] + start))

    def _hand_over(self) -> None:
        if not self._changes:
            return
        # One after the other, as many as there is room for; more than one round is for the rare crowd.
        places, numbers = list(self._changes), list(self._changes.values())
        self._changes = {}
        for start in range(0, len(places), _CHANGES):
            part = slice(start, start + _CHANGES)
            count = len(places[part])
            if start and self.device.type == "cuda":
                torch.cuda.synchronize()  # what was sent before may not have been read yet
            self._sent_changes.numpy()[:count, 0] = places[part]
            self._sent_changes.numpy()[:count, 1] = numbers[part]
            changes = self._sent_changes[:count].to(self.device, non_blocking=True)
            self._desk.view(-1).index_put_((changes[:, 0],), changes[:, 1])

    def _run(self, batch: Batch, mask: list[bool], full: bool) -> Floats:
        """One step of the rows in ``mask``. Returns ``[len(batch.slots), results and audio]``."""
        size = batch.bucket
        lowest_rows = batch.rows[-1] == size - 1
        self._sent.numpy()[:size, 0] = batch.rows
        self._sent.numpy()[:size, 1] = mask
        self._asked[:size].copy_(self._sent[:size], non_blocking=True)
        graph = self._graphs.get((size, lowest_rows, full))
        if graph is None:
            self._forward(self._rows[size, lowest_rows], full)
        else:
            graph.replay()
        # The one time that the device is waited for. It also holds what was sent in place until it has been read.
        self._told[:size].copy_(self._outputs[:size])
        return self._told.numpy()[np.searchsorted(batch.rows, batch.slots)]

    def _makes_fixed_tensors(self) -> None:
        pinned = self.device.type == "cuda"
        self._asked = torch.zeros(self.slots, 2, dtype=torch.long, device=self.device)  # slots of the rows; who steps
        self._outputs = torch.zeros(self.slots, _RESULTS + FRAME_SAMPLES, device=self.device)
        self._sent = torch.zeros(self._asked.shape, dtype=torch.long, pin_memory=pinned)
        self._told = torch.zeros(self._outputs.shape, pin_memory=pinned)
        self._sent_changes = torch.zeros(_CHANGES, 2, dtype=torch.long, pin_memory=pinned)
        self._rows = {
            (size, is_lowest): lowest(size, self.device) if is_lowest else Rows(self._asked[:size, 0], lowest=False)
            for size in self.buckets.sizes
            for is_lowest in (True, False)
        }

    def _captured(self) -> dict[tuple[int, bool, bool], torch.cuda.CUDAGraph]:
        """A CUDA graph of the step of each bucket, in both forms of rows, with and without audio. No row steps meanwhile."""
        graphs: dict[tuple[int, bool, bool], torch.cuda.CUDAGraph] = {}
        self._asked[:, 0].copy_(torch.arange(self.slots, device=self.device))
        pool = torch.cuda.graph_pool_handle()
        # The largest first, so that the others find room in what it has taken.
        for size, is_lowest in sorted(self._rows, reverse=True):
            for full in (True, False):
                rows = self._rows[size, is_lowest]
                side = torch.cuda.Stream()
                side.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(side):
                    for _ in range(2):
                        self._forward(rows, full)
                torch.cuda.current_stream().wait_stream(side)
                graph = graphs[size, is_lowest, full] = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, pool=pool):
                    self._forward(rows, full)
        return graphs

    @torch.no_grad()
    def _forward(self, rows: Rows, full: bool) -> None:
        """One step of these rows, from ``_asked`` to ``_outputs``. Only work of the device, in fixed shapes."""
        made = self._step(rows, self._asked[: rows.bucket, 1:] > 0, full)
        self._outputs[: rows.bucket, : made.shape[1]].copy_(made)

    def _step(self, rows: Rows, mask: Tensor, full: bool) -> Tensor:
        """``mask``: bool ``[bucket, 1]``. ``full``: with audio. Returns float32 ``[bucket, results and audio]``, and without
        audio ``[bucket, results]``."""
        desk = rows.of(self._desk)
        columns, history, words, tokens = desk.split([b - a for a, b in zip(self._starts, self._starts[1:], strict=False)], 1)
        step, voice, seed = columns[:, Column.STEP], columns[:, Column.VOICE], columns[:, Column.SEED]
        history = history.unflatten(1, (self.n_q, self._history))

        x = self._embedded(step, columns, history) + self._voices.sum
        x = self._ring.step(x[:, None], step, rows, cross=self._voices.cross, which=voice)
        context = norm(self._lm.out_norm, x)[:, 0] if self._lm.out_norm else x[:, 0]
        logits = self._lm.text_linear(context)
        text_draws = self._text.draws(logits.shape[1])
        draws = text_draws + (self._depformer.draws(self._audio) if full else 0)
        noise = gumbel(seed, step, draws) if draws else None
        asked = choose(logits, self._text, None if noise is None else noise[:, :text_draws])
        after, took = advance(self._rules, columns, words.unflatten(1, (WORDS, ROW)), tokens, asked)

        now = self._ages == (step % self._history)[:, None]
        if full:
            fed = self._depth_text(after[:, Column.MAIN], after[:, Column.SECOND])
            codes = self._depformer.step(fed, context, self._audio, None if noise is None else noise[:, text_draws:])
            codes = codes.masked_fill(step[:, None] < self._delays + self._delay, NOTHING)
            history = torch.where(now[:, None], codes[:, :, None], history)
            sound = [self._sound(step, history, rows, mask)]
        else:
            history = history.masked_fill(now[:, None], NOTHING)
            sound = []
        changed = torch.cat([after, columns[:, MUTABLE:], history.flatten(1)], 1)
        width = changed.shape[1]
        rows.put(self._desk[:, :width], torch.where(mask, changed, desk[:, :width]))
        kept = after[:, Column.NEXT]
        if self._rules.ahead:
            shown = after[:, Column.SHOWN]
            kept = torch.where(shown < after[:, Column.SHOWN_END], torch.minimum(kept, shown), kept)
        numbers = torch.stack([took.long(), after[:, Column.END], kept], 1)
        return torch.cat([numbers.float(), *sound], 1)

    def _embedded(self, step: Tensor, columns: Tensor, history: Tensor) -> Tensor:
        """What the backbone reads: the text that was fed last, and the audio tokens of the step before."""
        last = ((step - 1) % self._history).view(-1, 1, 1).expand(-1, self.n_q, 1)
        codes = history.gather(2, last)[:, :, 0].masked_fill(step[:, None] <= self._delays, NOTHING)
        return self._inputs(step, columns[:, Column.MAIN], columns[:, Column.SECOND], codes)

    def _sound(self, step: Tensor, history: Tensor, rows: Rows, mask: Tensor) -> Tensor:
        """The audio of the frame whose last codebooks were just made: each codebook's token is as old as its delay says."""
        made = ((step - self._lag)[:, None] + self._delays) % self._history
        codes = history.gather(2, made[:, :, None])[:, :, 0].clamp(min=0)
        frames = step - (self._delay + self._lag)
        pcm = self._mimi.step(codes, frames.clamp(min=0), rows, mask & (frames >= 0)[:, None])
        return pcm.clamp(-1.0, 1.0).float()


def _guidance(values: tuple[float, ...], wanted: float | None) -> float | None:
    """The value of the guidance condition."""
    if not values:
        if wanted not in (None, 1.0):
            raise ValueError(
                "cfg_coef: the model was not distilled for guidance, and a batch of twice the size is not supported"
            )
        return None
    if wanted is not None and wanted not in values:
        raise ValueError(f"cfg_coef: the model was distilled for {', '.join(str(value) for value in values)}, not for {wanted}")
    return wanted
