"""How many of the learner's words a recogniser still finds in what arrived."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

_WORD = re.compile(r"[a-z']+")


def words(text: str) -> list[str]:
    """The words of ``text`` in lower case, without punctuation."""
    return _WORD.findall(text.lower())


def words_lost(said: Sequence[str], recognised: Sequence[str]) -> int:
    """Words of ``said`` that are not where they should be in ``recognised``: substituted or deleted.

    Of all alignments with the fewest edits (Levenshtein 1966) the one that keeps most words counts.
    """
    row = [(column, 0) for column in range(len(recognised) + 1)]  # (edits, words lost) of the best alignment
    for index, word in enumerate(said):
        above, row = row, [(index + 1, index + 1)]
        for column, other in enumerate(recognised):
            differs = word != other
            row.append(
                min(
                    (above[column][0] + differs, above[column][1] + differs),
                    (above[column + 1][0] + 1, above[column + 1][1] + 1),
                    (row[column][0] + 1, row[column][1]),
                )
            )
    return row[-1][1]


async def recognise_all(clips: Sequence[bytes], cores: Sequence[int]) -> list[str]:
    """The embedded recogniser's text of each clip (16 kHz mono pcm16), as free speech, on all of ``cores``."""
    loop = asyncio.get_running_loop()
    context = get_context("forkserver")
    with ProcessPoolExecutor(len(cores), mp_context=context, initializer=partial(os.sched_setaffinity, 0, set(cores))) as pool:
        return list(await asyncio.gather(*(loop.run_in_executor(pool, _recognise, clip) for clip in clips)))


def _recognise(pcm16: bytes) -> str:
    from bench.hearing import recognise
    from pipeline.stt.sphinx_decoder import shared

    return recognise(shared(), pcm16, []).text
