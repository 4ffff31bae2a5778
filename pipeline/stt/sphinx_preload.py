"""Imported by the fork server only: loads the models once, so that a worker starts with them in memory at once."""

import os

# Each worker is to use one core. numpy reads this when it is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pipeline.stt.sphinx_decoder import shared

shared()
