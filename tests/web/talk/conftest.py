"""A real server, for the tests of calls in a terminal."""

from tests.running_server import own_server, server, server_env  # noqa: F401  (fixtures)
