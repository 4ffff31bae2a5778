"""``python -m bench latency``: how quickly a call answers, falls silent and starts, beside stock pipecat.

Three rows. *Fakes*: the same fakes for engines and the same end of turn; interruptions are measured here. *Natural*: whole
sentences of held-out speakers, each server finds the end of a turn itself, from the voice and from the true words. *Machine*:
both are told the end of the turn 200 ms after the last voiced sample. Parley and the frozen peer hear the same audio,
alternately, each in a fresh process on half of the cores while the client measures on the other half.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.dialogue import Dialogue, first_packet_ms
from bench.latency_figures import Measured, check, compare, figures
from bench.oracle import Row
from bench.sentences import Sentence, held_out, synthetic
from bench.servers import ServerProcess
from bench.settings import settings_hash
from bench.speech import Spoken, speech_dir, utterances
from bench.stats import percentile
from bench.told_dialogue import ToldDialogue

COLD_EXTRA = 1
"""Further fresh processes, for the first packet alone."""
SUBJECTS = {"parley": ("fakes", "oracle"), "peer": ("peer", "oracle_peer")}
"""The servers of each subject: with the fakes, and with the recogniser that is told what is said."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Plan:
    """How many rounds there are, and into how many parts each list of speech is divided among them (1: all in each round)."""

    rounds: int
    pairs: int
    natural: int
    machine: int


FULL = Plan(rounds=3, pairs=3, natural=1, machine=1)
QUICK = Plan(rounds=2, pairs=6, natural=6, machine=4)


@dataclass(frozen=True, slots=True)
class Speech:
    """All that is said."""

    pairs: list[tuple[Spoken, Spoken]]
    natural: list[Sentence]
    machine: list[Sentence]


def pairs_of(spoken: Sequence[Spoken]) -> list[tuple[Spoken, Spoken]]:
    """Each utterance from silence once, with another one half the list away as the one that interrupts its answer."""
    half = len(spoken) // 2
    return [(first, spoken[(index + half) % len(spoken)]) for index, first in enumerate(spoken)]


def share(items: Sequence[Item], round_index: int, parts: int) -> list[Item]:
    """A round's part of the speech: every ``parts``-th item, in each round others, until all were played."""
    return list(items[round_index % parts :: parts])


def speech(folder: Path) -> Speech:
    """The synthetic utterances, made in ``folder``, and the recordings.

    Raises:
        RuntimeError: a synthesiser or the recordings are missing.
    """
    recordings = speech_dir()
    if recordings is None:
        raise RuntimeError("the held-out speakers' recordings are needed (PARLEY_SPEECH_DIR)")
    spoken = utterances(folder, None)
    return Speech(pairs_of(spoken), held_out(recordings), synthetic(spoken))


async def run(quick: bool, server_cores: list[int], subjects: Sequence[str] = ("parley", "peer")) -> dict[str, Any]:
    """The whole benchmark; ``subjects`` leaves one out while it is being built.

    Raises:
        ServerFailed, TalkError: a server did not start, or a call was lost.
        RuntimeError: there is nothing to say.
    """
    measured = {subject: Measured() for subject in subjects}
    plan = QUICK if quick else FULL
    with tempfile.TemporaryDirectory(prefix="parley-speech-") as folder:
        said = await asyncio.to_thread(speech, Path(folder))
    for index in range(plan.rounds):
        for subject in subjects:
            with_fakes, told = SUBJECTS[subject]
            await _fakes(measured[subject], with_fakes, server_cores, share(said.pairs, index, plan.pairs))
            natural, machine = share(said.natural, index, plan.natural), share(said.machine, index, plan.machine)
            await _told(measured[subject], told, server_cores, {"natural": natural, "machine": machine})
            _progress(f"round {index + 1}/{plan.rounds}", subject, measured[subject])
    for _ in range(0 if quick else COLD_EXTRA):
        for subject in subjects:
            async with ServerProcess(SUBJECTS[subject][0], server_cores) as server:
                await _cold(measured[subject], server)
    return report(measured, said, plan)


def report(measured: dict[str, Measured], said: Speech, plan: Plan) -> dict[str, Any]:
    """The benchmark's result, without the machine."""
    mine, theirs = (measured.get(subject, Measured()) for subject in ("parley", "peer"))
    ours = figures(mine)
    ours["row_error_p90_ms"] = percentile(mine.row_errors(), 90)
    ours["row_minus_waveform_p50_ms"] = percentile(mine.row_differences(), 50)
    ours["turns_with_row"] = len(mine.row_errors())
    ours["barge_in_row_p50_ms"] = percentile([x for d in mine.dialogues for x in d.barge_in_row_ms], 50)
    ratios, intervals = compare(mine, theirs)
    return {
        "settings_hash": settings_hash(),
        "figures": ours,
        "peer": figures(theirs),
        "ratios": ratios,
        "ratios_ci95": intervals,
        "checks": check(mine, theirs, ratios),
        "input": {
            "pairs": len(said.pairs),
            "natural_sentences": len(said.natural),
            "natural_speakers": len({s.speaker for s in said.natural}),
            "machine_sentences": len(said.machine),
            "rounds": plan.rounds,
        },
        "turns": {
            subject: [[t.utterance, t.kind, t.v2v_ms, t.row_ms] for d in m.dialogues for t in d.turns]
            for subject, m in measured.items()
        },
        "told_turns": {
            subject: {row: [[t.utterance, t.v2v_ms, t.cut, t.stages_ms] for t in turns] for row, turns in m.told.items()}
            for subject, m in measured.items()
        },
        "barge_ins": {subject: m.fell() for subject, m in measured.items()},
        "cold_ms": {subject: m.cold_ms for subject, m in measured.items()},
    }


async def _fakes(measured: Measured, subject: str, cores: list[int], pairs: list[tuple[Spoken, Spoken]]) -> None:
    async with ServerProcess(subject, cores) as server:
        measured.start_s.append(server.start_s)
        await _cold(measured, server)
        warm = await first_packet_ms(server.url)
        if warm is not None:
            measured.warm_ms.append(warm)
        await asyncio.sleep(1.0)
        before = server.facts()
        result = await Dialogue(server.url).run(pairs)
        after = server.facts()
        measured.dialogues.append(result)
        measured.cpu_percent.append(100 * (after.cpu_s - before.cpu_s) / result.seconds)
        measured.memory_mb.append(after.memory_mb)


async def _told(measured: Measured, subject: str, cores: list[int], sentences: dict[Row, list[Sentence]]) -> None:
    async with ServerProcess(subject, cores) as server:
        for row, to_say in sentences.items():
            call = ToldDialogue(server.url, row)
            measured.told[row] += await call.say_all(to_say)
            measured.arrivals_ms += call.arrivals_ms


async def _cold(measured: Measured, server: ServerProcess) -> None:
    cold = await first_packet_ms(server.url)
    if cold is None:
        measured.cold_failed += 1
    else:
        measured.cold_ms.append(cold)
    await asyncio.sleep(1.0)
    server.check()


def _progress(when: str, subject: str, measured: Measured) -> None:
    found = {name: percentile(times, q) for name, (times, q) in measured.samples().items()}
    print(
        f"{when} {subject:>6}: v2v {found['v2v_p50_ms']} ms, told {found['machine_v2v_p50_ms']} ms,"
        f" with fakes {percentile(measured.v2v('clean'), 50)} ms, barge-in {found['barge_in_p50_ms']} ms,"
        f" first packet {found['first_packet_cold_ms']} ms",
        file=sys.stderr,
        flush=True,
    )
