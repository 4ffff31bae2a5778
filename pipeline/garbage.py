"""When Python's garbage collector looks at what.

A full collection looks at every object that can be in a circle: in a loaded process some 240,000, nearly all of modules,
which takes 100 to 300 ms, and no call is served meanwhile. What a loaded process consists of is no garbage, so it is looked at
once, when no call runs, and then never again.
"""

from __future__ import annotations

import gc


def settle() -> None:
    """Collect, and from now on pass over all that there is. It takes as long as a full collection."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def unsettle() -> None:
    """Let the next full collection look at everything again."""
    gc.unfreeze()
