"""The benchmark of bad networks: its network, its scores, and one call of it."""

from __future__ import annotations

import asyncio
import itertools
import os

import httpx
import numpy as np
import pytest
import uvloop

from bench.impairment import Fates, Impairment
from bench.net import (
    NETWORKS,
    NetCall,
    Said,
    Turn,
    figures,
    lost_share,
    report,
    run_batch,
    synthetic_said,
    v2v_added_ms,
    words_ratio_ci,
)
from bench.net_words import words, words_lost
from bench.relay import NoCandidate, Relay, host_of, moved
from bench.servers import ServerProcess

SDP = (
    "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 40000 UDP/TLS/RTP/SAVPF 96\r\n"
    "a=candidate:a 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"
    "a=candidate:b 1 udp 2130706431 fd00::1 41000 typ host\r\na=end-of-candidates\r\nm=application 40001 DTLS/SCTP 5000\r\n"
    "a=candidate:c 1 udp 2130706431 127.0.0.1 42000 typ host\r\na=end-of-candidates\r\n"
)


def test_a_wire_loses_and_delays_nothing():
    fates = Fates(Impairment())
    assert [fates.next() for _ in range(1_000)] == [0.0] * 1_000


def test_fates_are_as_described_and_the_same_for_a_seed():
    impairment = Impairment(loss=0.05, jitter_s=0.03, reorder=0.02)
    fates, again, other = Fates(impairment, "a"), Fates(impairment, "a"), Fates(impairment, "b")
    drawn = [fates.next() for _ in range(20_000)]
    assert drawn == [again.next() for _ in range(20_000)]
    assert drawn != [other.next() for _ in range(20_000)]
    late = np.array([one for one in drawn if one is not None])
    assert len(late) / len(drawn) == pytest.approx(0.95, abs=0.01)
    assert late.min() >= 0
    assert late.max() <= 0.03 + impairment.hold_s
    assert (late >= impairment.hold_s).mean() == pytest.approx(0.02, abs=0.004)
    assert late.mean() == pytest.approx(impairment.mean_delay_s, abs=0.001)


def test_each_of_the_published_networks_is_impaired_in_its_own_way():
    assert NETWORKS["clean"] == Impairment()
    alone = [NETWORKS[name] for name in ("loss", "jitter", "reordering")]
    assert [(n.loss > 0, n.jitter_s > 0, n.reorder > 0) for n in alone] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    together = NETWORKS["all"]
    assert (together.loss, together.jitter_s, together.reorder) == (0.05, 0.03, 0.02)


def test_a_description_is_moved_to_the_relay():
    sdp = SDP.format(port=40_000)
    assert host_of(sdp) == ("127.0.0.1", 40_000)
    there = moved(sdp, ("127.0.0.2", 5))
    assert host_of(there) == ("127.0.0.2", 5)
    assert there.count("a=candidate:") == 2
    assert [line for line in there.splitlines() if "candidate:" not in line] == [
        line for line in sdp.splitlines() if "candidate:" not in line
    ]
    with pytest.raises(NoCandidate):
        host_of("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 96\r\n")


class _End(asyncio.DatagramProtocol):
    """One peer's socket."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []

    def datagram_received(self, data, addr):
        self.received.append((data, addr))


async def _end():
    return await asyncio.get_running_loop().create_datagram_endpoint(_End, local_addr=("127.0.0.1", 0))


async def _received(end, count):
    async with asyncio.timeout(10):
        while len(end.received) < count:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("impairment", [Impairment(), Impairment(loss=0.2, jitter_s=0.01, reorder=0.1)])
def test_a_relay_passes_datagrams_both_ways_and_does_to_them_what_was_drawn(impairment, run):
    run(_relay_through(impairment))


async def _relay_through(impairment):
    (caller_socket, caller), (callee_socket, callee) = await _end(), await _end()
    relay = Relay(impairment, seed=3)
    try:
        to_callee = host_of(await relay.offer(SDP.format(port=caller_socket.get_extra_info("sockname")[1])))
        to_caller = host_of(relay.answer(SDP.format(port=callee_socket.get_extra_info("sockname")[1])))
        sent = [bytes([n]) for n in range(200)]
        for data in sent:
            caller_socket.sendto(data, to_caller)
            callee_socket.sendto(data, to_callee)
            await asyncio.sleep(0)
        for end, seed, place in ((callee, "3 up", to_callee), (caller, "3 down", to_caller)):
            fates = Fates(impairment, seed)
            through = [data for data in sent if fates.next() is not None]
            await _received(end, len(through))
            assert sorted(data for data, _ in end.received) == through
            assert {addr for _, addr in end.received} == {place}
        assert relay.datagrams == (200, 200)
        assert (sum(relay.lost) > 0) is (impairment.loss > 0)
    finally:
        relay.close()
        caller_socket.close()
        callee_socket.close()


@pytest.mark.parametrize(
    ("said", "recognised", "lost"),
    [
        ("I am here", "i am here", 0),
        ("I am here.", "i am", 1),
        ("I am here", "", 3),
        ("I am here", "i am not here at all", 0),
        ("I am here", "you am hear", 2),
        ("don't go", "don't you go", 0),
    ],
)
def test_words_that_are_lost(said, recognised, lost):
    assert words_lost(words(said), words(recognised)) == lost


def test_lost_words_are_those_of_the_best_of_all_alignments():
    def best(said, heard):
        # Every way to keep words of both in order: the edits around them are the rest of each gap.
        found = (len(said) + len(heard), len(said)) if not (said and heard) else None
        for keep in range(min(len(said), len(heard)) + 1):
            for mine in itertools.combinations(range(len(said)), keep):
                for theirs in itertools.combinations(range(len(heard)), keep):
                    if any(said[i] != heard[j] for i, j in zip(mine, theirs, strict=True)):
                        continue
                    ends = zip((-1, *mine), (*mine, len(said)), (-1, *theirs), (*theirs, len(heard)), strict=True)
                    edits = sum(max(b - a, d - c) - 1 for a, b, c, d in ends)
                    candidate = (edits, len(said) - keep)
                    found = candidate if found is None else min(found, candidate)
        return found[1]

    for said in itertools.product("ab", repeat=3):
        for heard in itertools.product("abc", repeat=3):
            assert words_lost(said, heard) == best(said, heard), (said, heard)


def _call(network, *turns, failed=None, batch=""):
    pcm = np.zeros(480, np.int16)
    made = [
        Turn(Said(name, pcm, "four words are here", real), v2v, cut, b"12" if audio else b"", lost)
        for name, real, v2v, cut, audio, lost in turns
    ]
    return NetCall(network, batch, made, failed)


def test_figures_are_paired_by_utterance_and_count_what_is_stuck():
    clean = [
        _call("clean", ("a", False, 400.0, False, True, 0), ("b", False, 900.0, False, True, 1), batch="1"),
        _call("clean", ("a", False, 420.0, False, True, 0), ("l", True, 500.0, False, True, 2), batch="2"),
    ]
    one = [("a", False, 450.0, False, True, 1), ("b", False, 930.0, False, True, 2), ("c", False, 1.0, False, True, 0)]
    other = [("a", False, None, False, False, 0), ("b", False, None, True, True, 0), ("l", True, 900.0, False, True, 0)]
    bad = [
        _call("all", *one, batch="1"),
        _call("all", *other, batch="2"),
        _call("loss", failed="the server closed the call", batch="1"),
    ]
    # "c" was never said on the clean line; a stuck turn and a cut one have no time, and learners end as they will.
    assert v2v_added_ms(clean, bad) == [50.0, 30.0]
    assert v2v_added_ms(clean[1:], bad) == []
    assert lost_share(clean) == 3 / 16
    assert lost_share(clean, real=True) == 0.5
    assert lost_share(bad) == round(7 / 24, 4)
    assert lost_share([]) is None
    found = figures(clean + bad)
    assert (found["v2v_added_ms"], found["words_lost_ratio"], found["stuck_calls"]) == (40.0, 1.556, 2)
    assert found["by_network"]["all"]["stuck_turns"] == 1
    assert found["by_network"]["all"]["cut_off_turns"] == 1
    assert found["by_network"]["loss"]["failed"] == ["the server closed the call"]
    assert found["by_network"]["clean"]["words_lost_ratio"] == 1.0


def test_the_ratio_of_lost_words_has_an_interval_over_the_utterances():
    def calls(network, lost):
        return [_call(network, *((f"u{i}", False, 400.0, False, True, n) for i, n in enumerate(lost)))]

    hard = [0, 4, 1, 2, 3, 1, 2, 1]
    assert words_ratio_ci(calls("clean", hard), calls("all", hard)) == (1.0, 1.0)
    assert words_ratio_ci(calls("clean", [2] * 8), calls("all", [4] * 8)) == (2.0, 2.0)
    low, high = words_ratio_ci(calls("clean", [1] * 8), calls("all", [0, 2] * 4))
    assert 0.2 < low < 1.0 < high < 1.8
    assert words_ratio_ci(calls("clean", [0] * 8), calls("all", hard)) is None
    assert words_ratio_ci(calls("clean", [1]), calls("all", [1])) is None
    assert words_ratio_ci([], calls("all", hard)) is None


def test_what_was_not_measured_does_not_pass():
    found = report({"net": [], "net_peer": []}, 0, 0, 1)
    assert {name: entry["ok"] for name, entry in found["checks"].items()} == {
        "v2v_added_ms": False,
        "words_lost_ratio": False,
        "stuck_calls": False,
    }
    assert "words_lost_ratio" not in report({"net": [], "net_peer": []}, 0, 0, 1, judge_words=False)["checks"]


@pytest.mark.parametrize("subject", ["net", "net_peer"])
async def test_a_call_over_a_bad_network_is_answered_and_heard(subject, tmp_path):
    said = synthetic_said(tmp_path)[0]
    cores = sorted(os.sched_getaffinity(0))
    async with (
        ServerProcess(subject, cores) as server,
        httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as http,
    ):
        (call,) = await run_batch(server, http, ["all"], [said], 0)
    assert call.failed is None
    (turn,) = call.turns
    assert not turn.stuck
    assert not turn.cut
    # Of the seconds around the utterance some speech must have come: 16 kHz pcm16, at most as long as it was listened to.
    heard = np.frombuffer(turn.audio, np.int16).astype(np.float64)
    assert 16_000 < len(heard) <= 16_000 * (len(said.pcm) / 48_000 + 3)
    assert np.sqrt((heard**2).mean()) > 200
