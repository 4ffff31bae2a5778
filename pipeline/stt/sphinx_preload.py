"""Imported by the fork server only: loads the models once, so that a worker starts with them in memory at once."""

from pipeline.stt.sphinx_decoder import shared

shared()
