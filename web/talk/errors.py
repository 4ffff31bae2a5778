"""What can go wrong in a call, in words for the person who made it."""

from __future__ import annotations

from web.parley_client import CallError

TalkError = CallError
"""The call could not be made or did not go to its end; the text is one line that says why."""
