"""What a server of the test's own process tells of calls by phone: reports, and whom it has refused."""

from __future__ import annotations

import asyncio
from typing import Any

from pipeline.metrics import prometheus
from tests.web.conftest import Running


async def report_of(server: Running, session_id: str) -> dict[str, Any]:
    """The report in the store, once it is there."""
    async with server.http() as http:
        for _ in range(500):
            response = await http.get(f"/api/sessions/{session_id}/report")
            if response.status_code == 200:
                report: dict[str, Any] = response.json()
                return report
            await asyncio.sleep(0.02)
    raise AssertionError(f"no report: {response.text}")


def refused(carrier: str, why: str) -> float:
    """How often a carrier's streams and requests were refused for a reason."""
    return prometheus.REGISTRY.get_sample_value("parley_phone_refused_total", {"carrier": carrier, "why": why}) or 0.0
