"""The drawing of ``bench turns``."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import fromstring, tostring

from bench.turns_plot import BOTTOM, HEIGHT, PEER, TOP, WIDTH, draw


def figures(*shares: float) -> dict[str, Any]:
    return {f"false_cutoff_{gap}": share for gap, share in zip((400, 800, 1200), shares, strict=True)} | {
        f"false_cutoff_{gap}_ci95": [share / 2, share * 1.5] for gap, share in zip((400, 800, 1200), shares, strict=True)
    }


def test_every_point_lies_within_the_drawing_and_more_cuts_lie_higher() -> None:
    curve = [{"false_cutoff_800": x, "wait_p50_ms": 300.0, "wait_p95_ms": 9_000.0} for x in (0.5, 0.1)]
    result = {
        "figures": {"oracle": figures(0.04, 0.06, 0.14), "curve": curve},
        "peer": figures(0.36, 0.36, 0.5) | {"curve": curve},
    }
    svg = fromstring(tostring(draw(result)))
    dots = [(float(c.attrib["cx"]), float(c.attrib["cy"]), c.attrib["fill"]) for c in svg.iter() if c.tag.endswith("circle")]
    assert len(dots) == 2 * 3 + 2 * 2 * 2
    assert all(0 < x < WIDTH and TOP <= y <= BOTTOM < HEIGHT for x, y, _ in dots)
    peer, ours = dots[:3], dots[3:6]
    assert {colour for _, _, colour in peer} == {PEER}
    assert all(p[0] == o[0] and p[1] < o[1] for p, o in zip(peer, ours, strict=True))
