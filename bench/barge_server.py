"""``bench.oracle_server`` with a tutor who speaks for six seconds. ``python -m bench.barge_server``."""

from __future__ import annotations

from bench.oracle_server import main

if __name__ == "__main__":
    main(brief=False)
