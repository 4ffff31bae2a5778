"""Parley with the engines inside the Python packages and no fakes. ``python -m bench.embedded_server``."""

from __future__ import annotations

from bench.parley_server import main

if __name__ == "__main__":
    main(fakes=False)
