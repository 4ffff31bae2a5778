"""Calls by phone: the real server, for tests with the embedded engines."""

from tests.running_server import own_server  # noqa: F401  (a fixture)
