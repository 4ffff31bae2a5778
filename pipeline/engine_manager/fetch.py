"""Fetches files of one repository with huggingface_hub, in a Python that has it, and says in lines of JSON how far it is.

    python fetch.py '{"repo": "owner/name", "files": ["*.safetensors"], "revision": "main", "cache_dir": "/folder"}'

Lines: ``{"total": bytes}``, then ``{"done": bytes, "file": name}`` now and then, and at the end ``{"folder": path}`` or
``{"error": text, "kind": "offline" | "refused" | "other"}``. A finished file is never fetched again, and a lost connection is
gone on with where it was; whether half a file of an earlier run is used depends on the library's release (0.x does). It runs
by itself, outside of the server's packages, since the engines' environments pin releases that are years apart.
"""

from __future__ import annotations

import fnmatch
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

EVERY_S = 0.5


def say(**what: Any) -> None:
    """Write one line."""
    print(json.dumps(what), flush=True)


def on_disk(blobs: Path, names: list[str]) -> int:
    """Bytes of the files ``names`` that are there, finished or not."""
    total = 0
    for name in names:
        for file in blobs.glob(f"{name}*"):
            try:
                total += file.stat().st_size
            except OSError:  # It has just been renamed.
                continue
            break
    return total


def main(wanted: dict[str, Any]) -> int:
    """Fetch; the exit code."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repo, revision, cache = wanted["repo"], wanted["revision"], wanted["cache_dir"]
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
        chosen = [
            s
            for s in info.siblings or []
            if not wanted["files"] or any(fnmatch.fnmatch(s.rfilename, p) for p in wanted["files"])
        ]
        if not chosen:
            say(error=f"it has no files like {', '.join(wanted['files'])}", kind="refused")
            return 1
        # Files are kept under their hashes: of large ones SHA-256, of others git's.
        names = [s.lfs.sha256 if s.lfs else s.blob_id or "" for s in chosen]
        blobs = Path(cache) / f"models--{repo.replace('/', '--')}" / "blobs"
        say(total=sum(s.size or 0 for s in chosen))
        over = threading.Event()
        current = [chosen[0].rfilename]

        def watch() -> None:
            while not over.wait(EVERY_S):
                say(done=on_disk(blobs, names), file=current[0])

        threading.Thread(target=watch, daemon=True).start()
        folder = ""
        for sibling in chosen:
            current[0] = sibling.rfilename
            file = hf_hub_download(repo, sibling.rfilename, revision=revision, cache_dir=cache)
            folder = file.removesuffix(sibling.rfilename).rstrip("/")
        over.set()
        say(done=on_disk(blobs, names), file=current[0])
        say(folder=folder)
        return 0
    except OfflineModeIsEnabled:
        say(error="HF_HUB_OFFLINE is set", kind="offline")
    except HfHubHTTPError as e:
        # The library's own texts are pages long; the first line has the status.
        status = getattr(e.response, "status_code", None)
        say(error=str(status or type(e).__name__), kind="refused" if status in (401, 403, 404) else "other")
    except Exception as e:  # Of which kind a lost connection is, depends on the library's release.
        names_of = {kind.__name__ for kind in type(e).__mro__}
        lost = names_of & {"ConnectionError", "ConnectError", "TransportError", "LocalEntryNotFoundError", "TimeoutError"}
        say(error=f"{constants.ENDPOINT}: {_root(e)}" if lost else _root(e), kind="offline" if lost else "other")
    return 1


def _root(error: BaseException) -> str:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
