"""``python -m web.cli.health``: exit code 0 where the server that these settings describe answers ``/health``."""

from __future__ import annotations

import http.client
import ssl
import sys

from pipeline.settings.load import SettingsError, load_settings

TIMEOUT_S = 4.0


def healthy() -> bool:
    """Whether ``/health`` answers 200 on this machine."""
    server = load_settings().server
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(server.host, server.host)
    connection: http.client.HTTPConnection
    if server.https:
        # This machine's own server: whether it lives is asked, not who it is.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(host, server.port, timeout=TIMEOUT_S, context=context)
    else:
        connection = http.client.HTTPConnection(host, server.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    try:
        sys.exit(0 if healthy() else 1)
    except SettingsError as error:
        sys.exit(str(error))
