"""Draws a result of ``bench turns``: ``python -m bench.turns_plot RESULT.json PLOT.svg``.

Left: which share of the pauses was taken for the end of the turn, by the pause's length, with 95 % intervals. Right: what
patience costs: the wait after true ends (p50 and p95) by the share of pauses of 0.8 s that were cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

WIDTH, HEIGHT = 760, 340
PANEL = 300
LEFT, TOP, BOTTOM = 52, 40, 282
OURS, PEER = "#1f6f8b", "#b5542c"
GAPS = (400, 800, 1200)


class Panel:
    """A pair of axes: data in, coordinates of the drawing out."""

    def __init__(self, svg: Element, x: float, title: str, x_label: str, y_label: str, x_most: float, y_most: float) -> None:
        self._svg, self._x, self._x_most, self._y_most = svg, x, x_most, y_most
        self.text(x, TOP - 16, title, weight="600")
        self.text(x + PANEL / 2, BOTTOM + 36, x_label, anchor="middle")
        self.text(x, TOP - 2, y_label, fill="#666")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where the point of the data lies."""
        return self._x + PANEL * x / self._x_most, BOTTOM - (BOTTOM - TOP - 6) * min(y, self._y_most) / self._y_most

    def ticks(self, xs: Mapping[float, str], ys: Mapping[float, str]) -> None:
        """Marks on both axes."""
        for value, name in xs.items():
            x, _ = self.at(value, 0)
            self.text(x, BOTTOM + 16, name, anchor="middle", fill="#666")
        for value, name in ys.items():
            _, y = self.at(0, value)
            self.line([(self._x, y), (self._x + PANEL, y)], "#ddd", 1)
            self.text(self._x - 6, y + 4, name, anchor="end", fill="#666")

    def series(self, points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> None:
        """A line through ``points`` with a dot at each."""
        placed = [self.at(x, y) for x, y in points]
        self.line(placed, colour, 2, dashed=dashed)
        for x, y in placed:
            SubElement(self._svg, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="3", fill=colour)

    def interval(self, x: float, low: float, high: float, colour: str) -> None:
        """From ``low`` to ``high`` at ``x``."""
        self.line([self.at(x, low), self.at(x, high)], colour, 1)

    def label(self, x: float, y: float, text: str, colour: str) -> None:
        """``text`` beside a point of the data."""
        px, py = self.at(x, y)
        self.text(px, py, text, fill=colour)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float, *, dashed: bool = False) -> None:
        """Straight pieces, in coordinates of the drawing."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        line = SubElement(self._svg, "polyline", points=path, fill="none", stroke=colour)
        line.set("stroke-width", str(width))
        if dashed:
            line.set("stroke-dasharray", "5 4")

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", fill: str = "#222", weight: str = "400") -> None:
        """Words, in coordinates of the drawing."""
        found = SubElement(self._svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill=fill)
        found.set("text-anchor", anchor)
        found.set("font-weight", weight)
        found.text = text


def draw(result: Mapping[str, Any]) -> Element:
    """The drawing of one result (the JSON of ``bench turns``)."""
    ours, peer = result["figures"]["oracle"], result["peer"]
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    svg.set("font-family", "system-ui, sans-serif")
    svg.set("font-size", "12")
    SubElement(svg, "title").text = "Pauses that were taken for the end of a turn, and what patience costs"
    SubElement(svg, "rect", width=str(WIDTH), height=str(HEIGHT), fill="#fff")

    cuts = Panel(svg, LEFT, "Cut off in a pause", "length of the pause, s", "share of pauses", 1.4, 0.6)
    cuts.ticks({0.4: "0.4", 0.8: "0.8", 1.2: "1.2"}, {0: "0", 0.2: "20 %", 0.4: "40 %", 0.6: "60 %"})
    for figures, colour, name in ((peer, PEER, "stock pipecat"), (ours, OURS, "Parley")):
        points = [(gap / 1000, figures[f"false_cutoff_{gap}"]) for gap in GAPS]
        for gap, (x, _) in zip(GAPS, points, strict=True):
            cuts.interval(x, *figures[f"false_cutoff_{gap}_ci95"], colour)
        cuts.series(points, colour)
        cuts.label(points[0][0] + 0.03, points[0][1] + 0.03, name, colour)

    waits = Panel(svg, LEFT + PANEL + 88, "The price of patience", "share cut off in pauses of 0.8 s", "wait, s", 0.6, 3.5)
    waits.ticks({0: "0", 0.2: "20 %", 0.4: "40 %", 0.6: "60 %"}, {0: "0", 1: "1", 2: "2", 3: "3"})
    for curve, colour in ((peer["curve"], PEER), (result["figures"]["curve"], OURS)):
        for key, dashed in (("wait_p50_ms", False), ("wait_p95_ms", True)):
            waits.series(sorted((c["false_cutoff_800"], c[key] / 1000) for c in curve), colour, dashed=dashed)
    waits.label(0.3, 2.3, "solid: p50, dashed: p95", "#666")
    return svg


def main(source: str, target: str) -> None:
    """Draw the result in the file ``source`` into ``target``."""
    svg = draw(json.loads(Path(source).read_text(encoding="utf-8")))
    indent(svg)
    ElementTree(svg).write(target, encoding="unicode")


if __name__ == "__main__":
    main(*sys.argv[1:])
