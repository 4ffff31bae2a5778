"""The OpenAI Realtime API as a door: ``docs/doors/realtime.md`` is its description."""
