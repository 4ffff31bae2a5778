"""The graphics cards of this machine, by nvidia-smi."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

FIELDS = ("index", "name", "memory.total", "memory.used", "utilization.gpu", "temperature.gpu")
TIMEOUT_S = 5.0
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Card:
    """One card; ``None`` where nvidia-smi does not know."""

    index: int
    name: str
    memory_total_mib: float | None
    memory_used_mib: float | None
    utilisation_percent: float | None
    temperature_c: float | None

    @property
    def total_gb(self) -> float | None:
        """Its memory in GB (10⁹ bytes)."""
        return None if self.memory_total_mib is None else self.memory_total_mib * _MIB / 1e9

    @property
    def used_gb(self) -> float:
        """What is in use of it now, in GB (10⁹ bytes)."""
        return (self.memory_used_mib or 0.0) * _MIB / 1e9


def read_cards() -> tuple[list[Card], str | None]:
    """The cards, and why there are none where there are none. Blocks for up to ``TIMEOUT_S``."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "nvidia-smi is not installed"
    try:
        done = subprocess.run(
            [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [], f"nvidia-smi did not answer within {TIMEOUT_S:g} s"
    except OSError as e:
        return [], f"nvidia-smi failed: {e.strerror}"
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0:
        return [], f"nvidia-smi failed: {text[:200]}"
    cards = parse_cards(text)
    return cards, None if cards else "nvidia-smi lists no GPU"


def parse_cards(text: str) -> list[Card]:
    """Read nvidia-smi's CSV; a value that it does not know ("[N/A]") becomes ``None``, a line that is none is left out."""
    cards = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == len(FIELDS) and fields[0].isdigit():
            cards.append(Card(int(fields[0]), fields[1], *(_number(field) for field in fields[2:])))
    return cards


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
