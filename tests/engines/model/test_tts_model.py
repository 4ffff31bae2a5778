"""The batched model against moshi's own, one session at a time, and each session against itself alone."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from moshi.models.tts import TTSModel

from engines.kyutai.model.checkpoint import open_checkpoint
from engines.kyutai.model.sampling import Sampling, choose, gumbel
from engines.kyutai.model.tts import FINAL_PADDING, BatchedTts
from engines.kyutai.model.tts_checkpoint import TtsParts, load_tts
from engines.kyutai.model.voices import voice_names
from engines.kyutai.schedule.buckets import Buckets
from engines.kyutai.tts_text import Splitter
from tests.engines.tiny_tts import VOICE_DIM, VOICE_FRAMES, VOICES, write_tiny_tts

FRAME = 1920
CODEBOOKS = 8
TEXTS = (
    "hello there my friend, how are you today? she goes to school and reads a book",
    "what would you like to talk about this morning",
    'well <break time="0.5s"/> I like my lazy dog',
    "yes",
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_tts(tmp_path_factory.mktemp("tts"), codebooks=CODEBOOKS)


def batched(folder: Path, *sizes: int, parts: TtsParts | None = None, **options) -> BatchedTts:
    parts = load_tts(folder) if parts is None else parts
    voices = voice_names(folder / "voices", parts.voice_suffix)
    return BatchedTts(parts, Buckets(sizes or (1, 2, 4)), voices=voices, default_voice="ada.wav", **options)


class Theirs:
    """moshi's own, for one session alone, with the most probable tokens."""

    def __init__(self, folder: Path, n_q: int) -> None:
        self.model = TTSModel.from_checkpoint_info(open_checkpoint(folder), n_q=n_q, temp=0.0, dtype=torch.float32)
        self.folder = folder

    @torch.no_grad()
    def says(self, text: str, voice: str, cfg_coef: float | None) -> tuple[list[list[int]], list[int], np.ndarray]:
        """The tokens of its words, the steps at which words began, and its audio."""
        model = self.model
        entries = model.prepare_script([text], padding_between=1)
        attributes = model.make_condition_attributes([self.folder / f"voices/{voice}{model.voice_suffix}"], cfg_coef=cfg_coef)
        result = model.generate([entries], [attributes])
        with model.mimi.streaming(1):
            pcm = [model.mimi.decode(frame[:, 1:].clamp(min=0)) for frame in result.frames[model.delay_steps :]]
        return (
            [entry.tokens or [3] * entry.padding for entry in entries],
            result.all_consumption_times[0],
            torch.cat(pcm, -1)[0, 0].clamp(-1, 1).numpy(),
        )


def says(
    model: BatchedTts, words: list[list[int]], *, slot: int = 0, voice=None, seed: int = 0
) -> tuple[list[int], np.ndarray]:
    """One session alone: the steps at which its words began, and its audio."""
    model.admit(slot, voice, seed)
    model.give(slot, words)
    model.end(slot)
    began: list[int] = []
    pcm: list[np.ndarray] = []
    batch = model.buckets.batch([slot])
    for step in range(2000):
        out = model.step(batch)
        assert out.step_index[0] == step
        began += [step] * int(out.words[0])
        if out.has_audio[0]:
            pcm.append(out.pcm[0])
        if out.done[0]:
            model.free(slot)
            return began, np.concatenate(pcm)
    raise AssertionError("it never ended")


def varied(pcm: np.ndarray) -> int:
    """How many of its frames differ from the one before: a model that always says the same token has none."""
    frames = pcm.reshape(-1, FRAME)
    return sum(float(np.abs(a - b).max()) > 1e-3 for a, b in pairwise(frames))


@pytest.mark.parametrize("n_q", [CODEBOOKS, 3, 1])
@pytest.mark.parametrize(("text", "voice", "cfg_coef"), [(TEXTS[0], "ada.wav", 2.0), (TEXTS[2], "den/cleo.wav", 1.0)])
def test_speaks_as_moshi_does(folder, n_q, text, voice, cfg_coef):
    words, began, pcm = Theirs(folder, n_q).says(text, voice, cfg_coef)
    model = batched(folder, n_q=n_q, temp=0.0, cfg_coef=cfg_coef)
    our_began, our_pcm = says(model, words, voice=voice)
    assert our_began == began
    assert len({b - a for a, b in pairwise(began)}) > 2
    # moshi's own ends its last frames earlier, by its acoustic delay.
    assert len(our_pcm) == len(pcm) + 2 * FRAME
    assert varied(our_pcm) > len(began)
    np.testing.assert_allclose(our_pcm[: len(pcm)], pcm, atol=2e-5)


def test_speaks_as_moshi_does_with_a_model_of_one_text_stream_and_without_guidance(tmp_path):
    folder = write_tiny_tts(tmp_path, codebooks=4, ahead=0, distilled=False)
    words, began, pcm = Theirs(folder, 4).says(TEXTS[1], "ben.wav", None)
    model = batched(folder, temp=0.0, cfg_coef=None)
    assert model.ahead == 0
    our_began, our_pcm = says(model, words, voice="ben.wav")
    assert our_began == began
    assert varied(our_pcm) > len(began)
    np.testing.assert_allclose(our_pcm[: len(pcm)], pcm, atol=2e-5)
    with pytest.raises(ValueError, match="not distilled"):
        batched(folder, cfg_coef=2.0)


def test_splits_text_as_moshi_does(folder):
    parts = load_tts(folder)
    for text in TEXTS:
        split = Splitter(parts.tokenizer.encode)(text)
        words, _, _ = theirs(folder).says(text, "ada.wav", 2.0)
        assert [tokens for _, tokens in split] == words


@cache
def theirs(folder: Path) -> Theirs:
    return Theirs(folder, CODEBOOKS)


def test_voices_guidance_and_codebooks_are_heard(folder):
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[1])]
    heard = [says(batched(folder, temp=0.0), words, voice=voice)[1] for voice in (*VOICES, None)]
    heard.append(says(batched(folder, temp=0.0, cfg_coef=4.0), words)[1])
    heard.append(says(batched(folder, temp=0.0, n_q=3), words)[1])
    assert np.array_equal(heard[0], heard[3])
    others = [heard[0], heard[1], heard[2], heard[4], heard[5]]
    for i, one in enumerate(others):
        for other in others[i + 1 :]:
            count = min(len(one), len(other), 20 * FRAME)
            assert np.abs(one[:count] - other[:count]).max() > 0.01


def test_a_voice_of_ones_own_is_that_of_its_file(folder):
    from safetensors.torch import load_file

    parts = load_tts(folder)
    model = batched(folder, parts=parts, temp=0.0)
    words = [tokens for _, tokens in Splitter(parts.tokenizer.encode)(TEXTS[3])]
    embedding = load_file(folder / f"voices/ben.wav{parts.voice_suffix}")["speaker_wavs"].numpy()
    assert np.array_equal(says(model, words, voice=embedding)[1], says(model, words, voice="ben.wav")[1])
    assert np.array_equal(says(model, words, voice=embedding[0])[1], says(model, words, voice="ben.wav")[1])
    with pytest.raises(KeyError):
        model.admit(0, "nobody", 0)
    with pytest.raises(ValueError, match=rf"\[1, {VOICE_DIM}, {VOICE_FRAMES}\]"):
        model.admit(0, embedding[:, :, :2], 0)


def test_voices_share_places_and_the_longest_unused_one_makes_room(folder):
    model = batched(folder, 4, temp=0.0, voice_places=2)
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[3])]
    alone = {voice: says(batched(folder, temp=0.0), words, voice=voice)[1] for voice in VOICES}
    model.admit(0, VOICES[0], 0)
    model.admit(1, VOICES[1], 0)
    model.admit(2, VOICES[0], 0)
    with pytest.raises(ValueError, match="2 different voices"):
        model.admit(3, VOICES[2], 0)
    model.free(0)
    with pytest.raises(ValueError, match="2 different voices"):
        model.admit(3, VOICES[2], 0)
    model.free(1)
    for voice in (VOICES[2], VOICES[0]):
        np.testing.assert_allclose(says(model, words, slot=3, voice=voice)[1], alone[voice], atol=1e-5)


def test_a_seed_decides_what_is_said(folder):
    model = batched(folder, temp=0.8)
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[1])]
    first, again, other = (says(model, words, slot=slot, seed=seed) for slot, seed in ((0, 7), (3, 7), (0, -8)))
    assert first[0] == again[0]
    np.testing.assert_allclose(first[1], again[1], atol=1e-5)
    count = min(len(first[1]), len(other[1]))
    assert np.abs(first[1][:count] - other[1][:count]).max() > 0.01


def test_chance_follows_the_probabilities():
    rows = 40_000
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]]).expand(rows, -1)
    seeds, steps = torch.arange(rows) // 200, torch.arange(rows) % 200
    for how, expected in (
        (Sampling(0.5, 0), torch.softmax(logits[0] / 0.5, 0)),
        (Sampling(1.0, 2), torch.tensor([1.0, 0.0, 1 / np.e, 0.0]) / (1 + 1 / np.e)),
    ):
        tokens = choose(logits, how, gumbel(seeds, steps, how.draws(4)))
        shares = torch.bincount(tokens, minlength=4) / rows
        assert torch.allclose(shares, expected.float(), atol=0.01)
    assert (choose(logits, Sampling(0.0, 25), None) == 0).all()


def test_noise_has_no_pattern_over_seeds_steps_and_places():
    seeds, steps = torch.meshgrid(torch.arange(60), torch.arange(60), indexing="ij")
    uniform = torch.exp(-torch.exp(-gumbel(seeds.flatten(), steps.flatten(), 60))).view(60, 60, 60) - 0.5
    assert abs(float(uniform.mean())) < 0.005
    for dim in range(3):
        for shift in (1, 2):
            together = (uniform * uniform.roll(shift, dim)).mean() * 12
            assert abs(float(together)) < 0.01
    assert torch.equal(gumbel(seeds[0], steps[0], 5), gumbel(seeds[0], steps[0], 9)[:, :5])


def test_the_speech_ends_a_fixed_while_after_the_last_word(folder):
    model = batched(folder, temp=0.0)
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[3])]
    began, pcm = says(model, words)
    # The word's tokens, then at most 8 steps of padding: the end is asked for then, and the audio up to it is made.
    assert len(pcm) // FRAME <= began[-1] + 1 + 8 + FINAL_PADDING


def test_a_slot_that_waits_for_words_makes_no_step(folder):
    model = batched(folder, temp=0.0)
    model.admit(0, None, 0)
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[0])]
    batch = model.buckets.batch([0])
    for count in (0, 1, 1):
        model.give(0, words[:count])
        out = model.step(batch)
        assert (out.words[0], out.step_index[0], out.has_audio[0], out.done[0]) == (0, 0, False, False)
    model.give(0, words[2:3])
    assert [int(model.step(batch).step_index[0]) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="tokens"):
        model.give(0, [[5] * 300])


def test_who_does_not_wait_speaks_with_the_first_word(folder):
    model = batched(folder, temp=0.0, wait=0)
    assert model.ahead == 0
    words = [tokens for _, tokens in Splitter(load_tts(folder).tokenizer.encode)(TEXTS[1])]
    # With all words there in time it says what it says when it waits.
    waiting, at_once = says(batched(folder, temp=0.0), words), says(model, words)
    assert waiting[0] == at_once[0]
    np.testing.assert_allclose(at_once[1], waiting[1], atol=1e-5)
    model.admit(0, None, 0)
    model.give(0, words[:1])
    assert [int(model.step(model.buckets.batch([0])).words[0]) for _ in range(3)] == [0, 0, 1]
