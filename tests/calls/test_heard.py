"""What the headless clients report of their playout reaches the call's metrics."""

from __future__ import annotations

import pytest

from web.talk.client import Server
from web.talk.rtc_client import RTCClient
from web.talk.ws_client import WSClient


@pytest.mark.parametrize("kind", [WSClient, RTCClient])
async def test_a_client_that_reports_its_playout_is_known_to_have_heard(server, kind):
    client = kind(Server(server.url), reports=True)
    try:
        await client.connect()
        row = {}
        while row.get("heard") is None:
            item = await client.receive(30)
            assert item is not None, "no row says when the greeting was heard"
            row = item[0].get("row", row)
        onset = client.heard.first_voiced(0.0)
        assert onset is not None
        # The process and the server read the same clock. A packet counts from its start on, and the wire from its end.
        assert row["heard"] == pytest.approx(onset * 1000, abs=150)
        assert row["heard"] >= row["sent"]
    finally:
        await client.close()
