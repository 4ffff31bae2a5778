"""The transformer with a state of our own against moshi's own streaming one, on the same weights."""

from __future__ import annotations

import pytest
import torch
from moshi.modules.transformer import StreamingTransformer
from moshi.utils.compile import no_compile

from engines.kyutai.model.rows import Rows, lowest
from engines.kyutai.model.transformer import RingTransformer, cross_keys

DIM, CONTEXT, SLOTS = 16, 6, 4

KINDS = {
    "lm": {"norm": "rms_norm_f32", "gating": "silu", "positional_embedding": "rope"},
    "mimi": {"norm": "layer_norm", "layer_scale": 0.5, "positional_embedding": "rope"},
    "halves": {"norm": "rms_norm", "gating": "silu", "positional_embedding": "rope_concat", "kv_repeat": 2},
    "sines": {"norm": "layer_norm_f32", "positional_embedding": "sin"},
    "across": {"norm": "layer_norm", "gating": "silu", "positional_embedding": "sin_rope", "cross_attention": True},
}


def made(kind: str) -> StreamingTransformer:
    torch.manual_seed(3)
    source = StreamingTransformer(
        DIM, 4, 3, dim_feedforward=24, causal=True, context=CONTEXT, max_period=50.0, **KINDS[kind]
    ).eval()
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return source


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_it_hears_what_moshis_own_does(kind: str, steps: int) -> None:
    # Over three times round the ring, with rows that do not step now and then, and one that begins anew in the middle.
    source, noise = made(kind), torch.Generator().manual_seed(1)
    ring = RingTransformer(source, SLOTS)
    offsets, everyone = torch.zeros(SLOTS, dtype=torch.long), lowest(SLOTS, torch.device("cpu"))
    across = torch.randn(SLOTS, 5, DIM, generator=noise) if kind == "across" else None
    cross = None if across is None else [cross_keys(layer, across) for layer in source.layers]
    heard = 0.0
    with no_compile(), source.streaming(SLOTS):
        for number in range(20):
            x = torch.randn(SLOTS, steps, DIM, generator=noise)
            mask = torch.rand(SLOTS, generator=noise) < 0.7
            source.set_exec_mask(mask)
            expected = source(x) if across is None else source(x, cross_attention_src=across)
            y = ring.step(x, offsets, everyone, cross=cross)
            torch.testing.assert_close(y[mask], expected[mask], rtol=1e-4, atol=1e-5)
            heard = max(heard, float((y - x).abs().max()))
            offsets += steps * mask
            if number == 11:
                anew = torch.tensor([False, True, False, False])
                source.reset_streaming(anew)
                offsets[1] = 0
    assert int(offsets.max()) > 2 * CONTEXT, "nobody went round the ring"
    assert heard > 0.1, "the transformer does next to nothing"


@torch.no_grad()
def test_rows_that_are_gathered_are_those_of_the_view() -> None:
    source, noise = made("lm"), torch.Generator().manual_seed(2)
    views, gathered = RingTransformer(source, SLOTS), RingTransformer(source, SLOTS + 3)
    offsets = torch.zeros(SLOTS, dtype=torch.long)
    there = Rows(torch.tensor([1, 3, 4, 6]), lowest=False)
    for _ in range(2 * CONTEXT):
        x = torch.randn(SLOTS, 1, DIM, generator=noise)
        torch.testing.assert_close(
            views.step(x, offsets, lowest(SLOTS, torch.device("cpu"))), gathered.step(x, offsets, there), rtol=0, atol=0
        )
        offsets += 1
    torch.testing.assert_close(gathered.ring[:, there.slots], views.ring, rtol=0, atol=0)
    assert not gathered.ring[:, [0, 2, 5]].any(), "it wrote to slots that were not in the batch"


@torch.no_grad()
def test_a_window_of_the_ring_is_put_back_as_it_was() -> None:
    source = made("lm")
    ring = RingTransformer(source, SLOTS)
    ring.ring.copy_(torch.randn(ring.ring.shape, generator=torch.Generator().manual_seed(4)))
    before = ring.ring.clone()
    slots, first = torch.tensor([2, 0]), torch.tensor([CONTEXT - 1, 3 * CONTEXT + 2])
    places = ring.window(slots, first, 3)
    assert places.tolist() == [[2 * CONTEXT + 5, 2 * CONTEXT, 2 * CONTEXT + 1], [2, 3, 4]]
    kept = ring.entries(places)
    torch.testing.assert_close(kept[:, 0, 0], before[:, 2, 5])
    ring.put(places, torch.zeros_like(kept))
    assert not ring.ring[:, 2, 5].any()
    ring.put(places, kept)
    torch.testing.assert_close(ring.ring, before, rtol=0, atol=0)
    assert ring.window(slots, first, CONTEXT + 4).shape == (2, CONTEXT)


def test_a_kind_that_it_cannot_step_is_refused() -> None:
    with pytest.raises(ValueError, match="causal"):
        RingTransformer(StreamingTransformer(DIM, 4, 1, causal=True, context=None), SLOTS)
