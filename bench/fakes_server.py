"""``bench.parley_server`` with pipecat's own end of turn, for the latency row with the fakes. ``python -m bench.fakes_server``.

The fake recogniser hears the same words in everything. A detector that listens to words would be told of a sentence that
nobody says, so the row compares what lies around the decision; the rows with true words compare the decision itself.
"""

from __future__ import annotations

from bench.parley_server import main

if __name__ == "__main__":
    main(end="stock")
