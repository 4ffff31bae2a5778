"""``python -m bench net``: what a bad network does to a call, beside stock pipecat.

Every call goes through a relay of the benchmark (``bench.relay``) which loses, delays and swaps datagrams in both directions;
the clean calls pass through the same relay, unimpaired and at the same time. The client notes the arrival of each packet,
before any buffer of its own: what a listener's jitter buffer adds is the listener's. Learner's words: what each server's
recogniser was given is kept and recognised afterwards, by the same recogniser for both.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from bench.impairment import Impairment
from bench.net_words import recognise_all, words, words_lost
from bench.relay import NoCandidate, Relay
from bench.servers import ServerProcess
from bench.settings import settings_hash
from bench.speech import LEARNER_END, RATE_HZ, SYNTHETIC, speech_dir, utterances
from bench.stats import RESAMPLES, bootstrap_ci, percentile, ratio
from web.talk.client import Server
from web.talk.errors import TalkError
from web.talk.listening import SPEECH_RMS, Pcm16, normalise, trim, window_rms
from web.talk.rtc_client import RTCClient
from web.talk.wavs import read_wav

NETWORKS = {
    "clean": Impairment(),
    "loss": Impairment(loss=0.05),
    "jitter": Impairment(jitter_s=0.03),
    "reordering": Impairment(reorder=0.02),
    "all": Impairment(loss=0.05, jitter_s=0.03, reorder=0.02),
}
BATCHES = (("clean", "loss", "all"), ("clean", "jitter", "reordering"))
"""Calls that run side by side: half of what stock pipecat holds, and each batch with a clean one."""
ROUNDS = 3
LEARNERS = 24
QUICK_SYNTHETIC, QUICK_LEARNERS = 6, 3
CONNECT_S = 20.0
LEAD_S = 1.5
STUCK_S = 10.0
QUIET_S = 0.8
ANSWER_LIMIT_S = 15.0
BEFORE_S, AFTER_S = 0.3, 1.0
"""What is recognised of an utterance: from before its beginning until after its end, by when it reached the recogniser."""
POLL_S = 0.02
MAX_ADDED_MS = 60.0
MAX_WORDS_RATIO = 1.2
ENOUGH_DRAWS = 0.95
"""Share of a bootstrap's draws in which the clean calls lose a word at all; the others have no ratio."""


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance and its words; pcm16 at 48 kHz. ``real``: a learner's."""

    name: str
    pcm: Pcm16
    text: str
    real: bool


@dataclass(slots=True)
class Turn:
    """One turn: its time (``None``: stuck, or ``cut``: the tutor began before its end) and what reached the recogniser."""

    said: Said
    v2v_ms: float | None
    cut: bool = False
    audio: bytes = b""
    lost_words: int = 0

    @property
    def stuck(self) -> bool:
        """Whether nobody answered."""
        return self.v2v_ms is None and not self.cut


@dataclass(slots=True)
class NetCall:
    """One call over one network."""

    network: str
    batch: str = ""
    """Calls with the same one ran side by side."""
    turns: list[Turn] = field(default_factory=list)
    failed: str | None = None
    """Why it could not be made, or was lost."""

    @property
    def stuck(self) -> bool:
        """Whether it was lost, or a turn of it was not answered."""
        return self.failed is not None or any(turn.stuck for turn in self.turns)


class RelayedClient(RTCClient):
    """A client whose datagrams pass through ``relay``, both ways."""

    def __init__(self, url: str, relay: Relay) -> None:
        super().__init__(Server(url), messages="rtvi", request_data={}, connect_timeout_s=CONNECT_S)
        self._relay = relay

    async def _offered(self, sdp: str) -> str:
        return await self._relay.offer(sdp)

    def _answered(self, sdp: str) -> str:
        return self._relay.answer(sdp)

    async def close(self) -> None:
        """Hang up, and close the relay once the goodbye has passed."""
        await super().close()
        self._relay.close()


async def run(quick: bool, server_cores: list[int]) -> dict[str, Any]:
    """The whole benchmark.

    Raises:
        ServerFailed: a server did not start.
    """
    with tempfile.TemporaryDirectory(prefix="parley-speech-") as folder:
        synthetic = await asyncio.to_thread(synthetic_said, Path(folder))
    real = await asyncio.to_thread(learners_said, speech_dir(), QUICK_LEARNERS if quick else LEARNERS)
    if quick:
        synthetic = synthetic[:QUICK_SYNTHETIC]
    rounds = 1 if quick else ROUNDS
    calls: dict[str, list[NetCall]] = {"net": [], "net_peer": []}
    for index in range(rounds):
        for subject, made in calls.items():
            said = [*synthetic, *real[index::rounds]]
            made += await _round(subject, server_cores, said, index)
            _progress(index, rounds, subject, made)
    all_cores = sorted({*server_cores, *os.sched_getaffinity(0)})
    turns = [turn for made in calls.values() for call in made for turn in call.turns if turn.audio]
    texts = await recognise_all([turn.audio for turn in turns], all_cores)
    for turn, text in zip(turns, texts, strict=True):
        turn.lost_words = words_lost(words(turn.said.text), words(text))
    return report(calls, len(synthetic), len(real), rounds, judge_words=not quick)


def synthetic_said(folder: Path) -> list[Said]:
    """The utterances of ``bench.speech`` whose end is beyond dispute, with their words.

    Raises:
        RuntimeError: where a synthesiser is not installed.
    """
    spoken = utterances(folder, None)
    return [Said(one.name, one.pcm, text, real=False) for one, (_, _, text) in zip(spoken, SYNTHETIC, strict=True)]


def learners_said(folder: Path | None, count: int) -> list[Said]:
    """``count`` clips of learners with their words, one of each speaker after the other; none where ``folder`` is ``None``."""
    if folder is None:
        return []
    by_speaker: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["file"].startswith("learners/"):
            by_speaker[entry["speaker"]].append(entry)
    turn_about = [
        clips[i] for i in range(max(map(len, by_speaker.values()))) for clips in by_speaker.values() if i < len(clips)
    ]
    return [_learner(folder / entry["file"], entry["text"]) for entry in turn_about[:count]]


def _learner(path: Path, text: str) -> Said:
    pcm = read_wav(path, RATE_HZ)
    threshold = max(SPEECH_RMS, LEARNER_END * float(window_rms(pcm, RATE_HZ).max(initial=0.0)))
    return Said(path.stem, normalise(trim(pcm, RATE_HZ, threshold_rms=threshold)), text, real=True)


async def _round(subject: str, cores: list[int], said: Sequence[Said], index: int) -> list[NetCall]:
    made: list[NetCall] = []
    async with ServerProcess(subject, cores) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as http:
            await run_batch(server, http, ("clean",), said[:1], index)  # a process's first turn is not the network's
            for batch in BATCHES:
                made += await run_batch(server, http, batch, said, index)
        server.check()
    return made


async def run_batch(
    server: ServerProcess, http: httpx.AsyncClient, batch: Sequence[str], said: Sequence[Said], index: int
) -> list[NetCall]:
    """One call for each network of ``batch``, side by side, in which all of ``said`` is said. ``index`` seeds what happens."""
    made, running = [], []
    for network in batch:
        call = NetCall(network, f"{index} {' '.join(batch)}")
        made.append(call)
        client = RelayedClient(server.url, Relay(NETWORKS[network], f"{network} {index}"))
        # One after the other: the latest recogniser is this call's.
        try:
            await client.connect()
        except (TalkError, NoCandidate) as e:
            call.failed = str(e)
            await client.close()
            continue
        number = int((await http.get("/bench/calls")).json()["calls"]) - 1
        running.append(asyncio.create_task(_talk(client, call, said, http, number)))
    await asyncio.gather(*running)
    return made


async def _talk(client: RelayedClient, call: NetCall, said: Sequence[Said], http: httpx.AsyncClient, number: int) -> None:
    reader = asyncio.create_task(_read(client))
    try:
        await asyncio.sleep(LEAD_S)
        for one in said:
            if client.lost is not None:
                call.failed = client.lost
                return
            call.turns.append(await _turn(client, one, http, number))
    finally:
        await client.close()
        await asyncio.gather(reader, return_exceptions=True)


async def _turn(client: RelayedClient, one: Said, http: httpx.AsyncClient, number: int) -> Turn:
    heard, microphone = client.heard, client.microphone
    utterance = microphone.say(one.pcm)
    await asyncio.wait_for(utterance.done.wait(), len(one.pcm) / RATE_HZ + 10)
    onset, end = microphone.onset_at(utterance), microphone.ended_at(utterance)
    assert onset is not None, "an utterance that was played has its times"
    assert end is not None
    await _until(lambda: heard.first_voiced(end) is not None, STUCK_S)
    after_s, cut = heard.voice_to_voice_s(end), heard.sounding_at(end)
    await _until(lambda: time.monotonic() - max(heard.last_voiced() or 0.0, end + AFTER_S - QUIET_S) > QUIET_S, ANSWER_LIMIT_S)
    asked = {"call": number, "since": onset - BEFORE_S, "until": end + AFTER_S}
    audio = (await http.get("/bench/heard", params=asked)).content
    return Turn(one, None if after_s is None or cut else round(after_s * 1000, 1), cut, audio)


async def _read(client: RelayedClient) -> None:
    while True:
        try:
            await client.receive(10.0)
        except TalkError:
            return


async def _until(condition: Any, timeout_s: float) -> None:
    for _ in range(int(timeout_s / POLL_S) + 1):
        if condition():
            return
        await asyncio.sleep(POLL_S)


def figures(calls: Sequence[NetCall]) -> dict[str, Any]:
    """What is published of one server: with all impairments at once, and ``by_network``."""
    clean = [call for call in calls if call.network == "clean"]
    table = {network: _against(clean, [call for call in calls if call.network == network]) for network in NETWORKS}
    worst = table["all"]
    impaired = [call for call in calls if call.network != "clean"]
    return {
        "v2v_added_ms": worst["v2v_added_ms"],
        "words_lost_ratio": worst["words_lost_ratio"],
        "stuck_calls": sum(call.stuck for call in impaired) if impaired else None,
        "v2v_added_ci95_ms": worst["v2v_added_ci95_ms"],
        "words_lost_ratio_ci95": worst["words_lost_ratio_ci95"],
        "clean_v2v_p50_ms": table["clean"]["v2v_p50_ms"],
        "v2v_p50_ms": worst["v2v_p50_ms"],
        "by_network": table,
    }


def _against(clean: Sequence[NetCall], calls: Sequence[NetCall]) -> dict[str, Any]:
    added = v2v_added_ms(clean, calls)
    lost, clean_lost = lost_share(calls), lost_share(clean)
    impairment = NETWORKS[calls[0].network] if calls else Impairment()
    return {
        "v2v_p50_ms": percentile(_times(calls), 50),
        "v2v_p90_ms": percentile(_times(calls), 90),
        "v2v_added_ms": percentile(added, 50),
        "v2v_added_ci95_ms": bootstrap_ci(added),
        "network_delay_ms": round(2000 * impairment.mean_delay_s, 1),
        "words_lost": lost,
        "words_lost_ratio": ratio(lost, clean_lost),
        "words_lost_ratio_ci95": words_ratio_ci(clean, calls),
        "words_lost_synthetic": lost_share(calls, real=False),
        "words_lost_learners": lost_share(calls, real=True),
        "turns": sum(len(call.turns) for call in calls),
        "stuck_turns": sum(turn.stuck for call in calls for turn in call.turns),
        "cut_off_turns": sum(turn.cut for call in calls for turn in call.turns),
        "calls": len(calls),
        "stuck_calls": sum(call.stuck for call in calls),
        "failed": [call.failed for call in calls if call.failed is not None],
    }


def v2v_added_ms(clean: Sequence[NetCall], calls: Sequence[NetCall]) -> list[float]:
    """For each synthetic utterance of ``calls`` that was answered: how much later than in the clean call beside it."""
    usual = {(call.batch, turn.said.name): turn.v2v_ms for call in clean for turn in call.turns if turn.v2v_ms is not None}
    return [
        round(turn.v2v_ms - beside, 1)
        for call in calls
        for turn in call.turns
        if turn.v2v_ms is not None and not turn.said.real and (beside := usual.get((call.batch, turn.said.name))) is not None
    ]


def lost_share(calls: Sequence[NetCall], *, real: bool | None = None) -> float | None:
    """Share of the words said that were not recognised: of learners' clips (``real``), of the others, or of all."""
    counts = [_lost(turn) for call in calls for turn in call.turns if real is None or turn.said.real == real]
    lost, said = sum(lost for lost, _ in counts), sum(said for _, said in counts)
    return round(lost / said, 4) if said else None


def words_ratio_ci(clean: Sequence[NetCall], calls: Sequence[NetCall], *, seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of the ratio of words lost, by a bootstrap over the utterances; ``None`` where it cannot be told.

    Each draw takes an utterance with all of its repetitions on both networks, so that hard utterances do not widen it.
    """
    names = sorted({turn.said.name for call in clean for turn in call.turns} & {t.said.name for c in calls for t in c.turns})
    if len(names) < 2:
        return None
    # Rows: words lost and said on the clean network, then on the other.
    table = np.array([[*_lost_of(clean, name), *_lost_of(calls, name)] for name in names], dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    clean_lost, clean_said, lost, said = np.moveaxis(table[draws].sum(axis=1), 1, 0)
    if np.mean(clean_lost > 0) < ENOUGH_DRAWS:
        return None
    told = clean_lost > 0
    low, high = np.percentile((lost / said)[told] / (clean_lost / clean_said)[told], [2.5, 97.5])
    return round(float(low), 2), round(float(high), 2)


def _lost_of(calls: Sequence[NetCall], name: str) -> tuple[int, int]:
    counts = [_lost(turn) for call in calls for turn in call.turns if turn.said.name == name]
    return sum(lost for lost, _ in counts), sum(said for _, said in counts)


def _lost(turn: Turn) -> tuple[int, int]:
    said = len(words(turn.said.text))
    # What never reached the recogniser is lost in full.
    return (turn.lost_words if turn.audio else said), said


def _times(calls: Sequence[NetCall]) -> list[float]:
    return [turn.v2v_ms for call in calls for turn in call.turns if turn.v2v_ms is not None and not turn.said.real]


def report(
    calls: dict[str, list[NetCall]], synthetic: int, real: int, rounds: int, *, judge_words: bool = True
) -> dict[str, Any]:
    """The benchmark's result, without the machine. The few dozen words of a quick run tell nothing about 1.2: not judged."""
    ours, peer = figures(calls["net"]), figures(calls["net_peer"])
    return {
        "figures": ours,
        "peer": peer,
        "ratios": {
            "v2v_added": ratio(ours["v2v_added_ms"], peer["v2v_added_ms"]),
            "words_lost_ratio": ratio(ours["words_lost_ratio"], peer["words_lost_ratio"]),
            "stuck_calls": ratio(ours["stuck_calls"], peer["stuck_calls"]) if peer["stuck_calls"] else None,
        },
        "checks": {
            "v2v_added_ms": _check(ours["v2v_added_ms"], MAX_ADDED_MS),
            **({"words_lost_ratio": _check(ours["words_lost_ratio"], MAX_WORDS_RATIO)} if judge_words else {}),
            "stuck_calls": _check(ours["stuck_calls"], 0),
        },
        "settings_hash": settings_hash(),
        "input": {
            "synthetic_utterances": synthetic,
            "learners_utterances": real,
            "rounds": rounds,
            "networks": {
                name: {
                    "loss": n.loss,
                    "jitter_ms": round(n.jitter_s * 1000),
                    "reorder": n.reorder,
                    "hold_ms": round(n.hold_s * 1000),
                }
                for name, n in NETWORKS.items()
            },
        },
        "turns": {
            subject: [
                [call.batch, call.network, turn.said.name, turn.v2v_ms, turn.cut, turn.lost_words, len(words(turn.said.text))]
                for call in made
                for turn in call.turns
            ]
            for subject, made in calls.items()
        },
    }


def _check(value: float | None, limit: float) -> dict[str, Any]:
    return {"value": value, "limit": limit, "ok": value is not None and value <= limit}


def _progress(index: int, rounds: int, subject: str, calls: Sequence[NetCall]) -> None:
    found = {name: percentile(_times([c for c in calls if c.network == name]), 50) for name in NETWORKS}
    stuck = sum(call.stuck for call in calls)
    print(f"round {index + 1}/{rounds} {subject:>8}: v2v {found} ms, {stuck} stuck calls", file=sys.stderr, flush=True)
