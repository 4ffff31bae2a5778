"""What went well and what to try next: each line follows from a measure, with the learner's own words where there are any."""

from __future__ import annotations

from collections.abc import Sequence

from agent.analysis.measure import Measure
from agent.analysis.mistakes import FoundMistake
from agent.analysis.scores import MIN_TURNS, MIN_WORDS, NOT_ENOUGH, PACE_TARGET_WPM, Speech
from agent.analysis.vocabulary import sure_words
from agent.analysis.words import learner_turns, said
from agent.record import CallRecord

# Where praise or advice begins: our own choices, shown with the figure that they rest on.
WHOLE_SENTENCE_WORDS = 5
RICH_VOCABULARY = 20
PROMPT_ANSWER_S = 2.0
LIVELY_TALK_RATIO = 0.4
QUIET_TALK_RATIO = 0.25
SHORT_ANSWER_WORDS = 4.0
SLOW_SHARE_OF_PACE = 0.6
MAX_QUOTED_MISTAKES = 3


def strengths(record: CallRecord, of: Speech, found: Sequence[FoundMistake], measures: dict[str, Measure]) -> list[str]:
    """What the measures show to be good; empty where there is not enough speech."""
    if of.verdict == NOT_ENOUGH:
        return []
    out = []
    sentence = _best_sentence(record, {m.turn for m in found})
    if sentence:
        out.append(f"You answered in a whole sentence: “{sentence}”.")
    vocabulary = measures["vocabulary_size"].value
    if vocabulary is not None and vocabulary >= RICH_VOCABULARY:
        longest = sorted(dict.fromkeys(w for w in sure_words(record) if len(w) > 4), key=len, reverse=True)[:3]
        examples = ", among them " + ", ".join(f"“{w}”" for w in longest) if longest else ""
        out.append(f"You used {vocabulary} different words{examples}.")
    response = measures["response_time_s"].value
    if response is not None and response <= PROMPT_ANSWER_S:
        out.append(f"You answered promptly: half of your answers began within {response:.1f} s.")
    talk = measures["talk_ratio"].value
    if talk is not None and talk >= LIVELY_TALK_RATIO:
        out.append(f"You took a good part in the talk: {talk:.0%} of the talking time was yours.")
    if of.verdict is None and not found:
        out.append(f"In the {of.sure} words that could be judged, none of the mistakes that the lesson knows was found.")
    return out


def suggestions(record: CallRecord, of: Speech, found: Sequence[FoundMistake], measures: dict[str, Measure]) -> list[str]:
    """What to try next, most helpful first."""
    out = [
        f"Say “{m.correction.correction}” instead of “{m.correction.original}”."
        for m in {m.correction.original.lower(): m for m in reversed(found)}.values()
    ][-MAX_QUOTED_MISTAKES:][::-1]
    if of.verdict == NOT_ENOUGH:
        out.append(
            f"Say or type at least {MIN_WORDS} words in {MIN_TURNS} turns to get scores; "
            f"this call had {of.words} in {of.turns}."
        )
        return out
    unsure = of.words - of.sure
    if unsure > of.words / 4:
        out.append(
            f"{unsure} of your {of.words} words were hard to hear: a microphone close to the mouth and a quiet room help, "
            "and typing works too."
        )
    if of.words / of.turns < SHORT_ANSWER_WORDS:
        short = _shortest(record)
        example = f", such as “{short}”" if short else ""
        out.append(f"Your answers had {of.words / of.turns:.1f} words on average{example}. Add a reason with “because”.")
    talk = measures["talk_ratio"].value
    if talk is not None and talk < QUIET_TALK_RATIO:
        out.append(f"You spoke for {talk:.0%} of the talking time. Ask the tutor something too, for example “And you?”.")
    pace = measures["words_per_minute"].value
    target = {str(k): v for k, v in PACE_TARGET_WPM.items()}.get(record.level)
    if pace is not None and target is not None and pace < SLOW_SHARE_OF_PACE * target:
        sentence = _best_sentence(record, set())
        example = f": try “{sentence}” in one breath" if sentence else ""
        out.append(f"You spoke {pace:.0f} words a minute. Practise whole sentences until they come without pauses{example}.")
    return out


def _best_sentence(record: CallRecord, mistaken: set[int]) -> str | None:
    """The longest turn of sure words only in which nothing was corrected."""
    best: list[str] = []
    for turn in learner_turns(record):
        words = said(turn)
        if turn.index not in mistaken and not turn.corrections and all(w.sure for w in words) and len(words) > len(best):
            best = [w.text for w in words]
    return " ".join(best[:25]) if len(best) >= WHOLE_SENTENCE_WORDS else None


def _shortest(record: CallRecord) -> str | None:
    turns = ([w.text for w in words] for turn in learner_turns(record) if (words := said(turn)) and all(w.sure for w in words))
    shortest = min(turns, key=len, default=[])
    return " ".join(shortest) if shortest and len(shortest) < SHORT_ANSWER_WORDS else None
