"""The machine on the device against moshi's own, word by word; and words that come late."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from moshi.models.tts import Entry, StateMachine, TokenIds

from engines.kyutai.model.machine import COLUMNS, MUTABLE, NOTHING, PAD, Column, Rules, advance
from engines.kyutai.model.script import ROW, Script

WORDS, TOKENS = 4, 32
CARD = 1000

a_word = st.one_of(
    st.lists(st.integers(0, 900), min_size=1, max_size=6),
    st.lists(st.integers(0, 4), min_size=2, max_size=4),
    st.integers(1, 5).map(lambda frames: [PAD] * frames),
)
chances = st.lists(st.integers(0, 4), max_size=120)


class Device:
    """One slot, and the news for it, as the model has them."""

    def __init__(self, rules: Rules, script: Script) -> None:
        self.rules, self.script = rules, script
        self.columns = torch.zeros(1, COLUMNS, dtype=torch.long)
        self.columns[0, :MUTABLE] = torch.tensor(rules.fresh(CARD))
        self.words = torch.zeros(1, WORDS, ROW, dtype=torch.long)
        self.tokens = torch.zeros(1, TOKENS, dtype=torch.long)

    def told(self) -> None:
        kept, shown, shown_end = (int(self.columns[0, c]) for c in (Column.NEXT, Column.SHOWN, Column.SHOWN_END))
        if shown < shown_end:
            kept = min(kept, shown)
        if news := self.script.news(kept):
            for i, row in enumerate(news.rows, news.first_row):
                self.words[0, i % WORDS] = torch.tensor(row)
            for i, token in enumerate(news.tokens, news.first_token):
                self.tokens[0, i % TOKENS] = token
            self.columns[0, Column.KNOWN] = news.known

    def step(self, asked: int) -> tuple[int, int, bool]:
        self.told()
        assert self.script.ready
        after, took = advance(self.rules, self.columns, self.words, self.tokens, torch.tensor([asked]))
        self.columns[:, :MUTABLE] = after
        self.script.begun += int(took[0])
        return int(after[0, Column.MAIN]), int(after[0, Column.SECOND]), bool(took[0])


def entries(words: list[list[int]], between: int) -> list[Entry]:
    pauses = [set(word) == {PAD} for word in words]
    paddings = [len(w) if pause else max(0, between + len(w) - 1) for w, pause in zip(words, pauses, strict=True)]
    tokens = [[] if pause else list(w) for w, pause in zip(words, pauses, strict=True)]
    return [Entry(t, str(i), padding=p) for i, (t, p) in enumerate(zip(tokens, paddings, strict=True))]


@given(st.lists(a_word, max_size=12), chances, st.integers(0, 2), st.integers(1, 9), st.integers(0, 3))
def test_feeds_what_moshis_machine_feeds(words, asked, ahead, max_padding, initial):
    theirs = StateMachine(TokenIds(CARD), second_stream_ahead=ahead, max_padding=max_padding, initial_padding=initial)
    state = theirs.new_state(entries(words, 1))
    script = Script(ahead=ahead, pad=PAD, words=WORDS, tokens=TOKENS)
    script.give(words)
    script.end()
    ours = Device(Rules(ahead, max_padding, initial), script)
    for step, token in enumerate(asked):
        wanted, took = theirs.process(step, state, token)
        main, second, began = ours.step(token)
        assert (main + (second + 1) * CARD if ahead else main) == wanted
        assert began == took
    assert int(ours.columns[0, Column.END]) == (-1 if state.end_step is None else state.end_step)
    assert ours.script.begun == len(state.consumption_times)


@given(st.lists(a_word, min_size=1, max_size=12), chances, st.integers(0, 2), st.data())
def test_feeds_the_same_whenever_the_words_come(words, asked, ahead, data):
    rules = Rules(ahead)
    told, late = (Script(ahead=ahead, pad=PAD, words=WORDS, tokens=TOKENS) for _ in range(2))
    told.give(words)
    told.end()
    at_once, by_and_by = Device(rules, told), Device(rules, late)
    left = list(words)
    for token in asked:
        wanted = at_once.step(token)
        by_and_by.told()
        while not late.ready:
            count = data.draw(st.integers(1, 3))
            late.give(left[:count])
            del left[:count]
            if not left:
                late.end()
            by_and_by.told()
        assert by_and_by.step(token) == wanted


def test_a_session_without_words_is_over_when_the_model_asks_for_one():
    script = Script(ahead=2, pad=PAD, words=WORDS, tokens=TOKENS)
    assert not script.ready
    script.end()
    device = Device(Rules(2), script)
    fed = [device.step(0) for _ in range(4)]
    assert fed == [(PAD, NOTHING, False), (PAD, NOTHING, False), (PAD, 0, False), (PAD, NOTHING, False)]
    assert int(device.columns[0, Column.END]) == 2


@given(st.lists(a_word, min_size=1, max_size=14), st.integers(0, 1), st.data())
def test_who_does_not_wait_feeds_all_words_in_order_too(words, wait, data):
    script = Script(ahead=2, pad=PAD, words=WORDS, tokens=TOKENS, wait=wait)
    device = Device(Rules(2), script)
    left, fed, began = list(words), [], 0
    while script.begun < len(words):
        device.told()
        if not script.ready:
            assert left
            count = data.draw(st.integers(1, 3))
            script.give(left[:count])
            del left[:count]
            if not left:
                script.end()
            continue
        main, _, took = device.step(data.draw(st.sampled_from([0, 3])))
        began += took
        fed.append(main)
    fed += [device.step(3)[0] for _ in range(8)]
    assert began == len(words)
    # Paddings lie between, and a 0 may be taken for the mark of a word and not be fed.
    spoken = [word for word in words if set(word) != {PAD}]
    assert [token for token in fed if token not in (PAD, 0)] == [t for word in spoken for t in word if t not in (PAD, 0)]


def test_who_does_not_wait_begins_with_the_first_word_and_shows_what_came_in_time():
    script = Script(ahead=2, pad=PAD, words=WORDS, tokens=TOKENS, wait=0)
    device = Device(Rules(2), script)
    script.give([[10, 11]])
    fed = [device.step(0)]
    script.give([[20], [30, 31]])
    fed += [device.step(0) for _ in range(5)]
    assert fed == [(PAD, -1, False), (PAD, -1, False), (10, 0, True), (11, 30, False), (PAD, 31, False), (20, 0, True)]
