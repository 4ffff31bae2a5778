"""A small server of its own, as the engine that the tests start: ``python little_engine.py PORT [option=value ...]``.

Options: ``load_s`` (before it is ready), ``child=session`` (a process of its own that would outlive it), ``deaf=1`` (ignores
SIGTERM), ``die=N`` (ends with that exit code instead of serving), ``once=FILE`` (``die`` only while the file is missing, which
it then makes). GET /ready answers as engines do; GET /die?N ends it; GET /pids names its process and its child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT = int(sys.argv[1])
OPTIONS = dict(a.split("=", 1) for a in sys.argv[2:])
READY = threading.Event()
PIDS = [os.getpid()]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/die"):
            print("RuntimeError: asked to die", file=sys.stderr, flush=True)
            os._exit(int(self.path.partition("?")[2] or 1))
        good = READY.is_set() or self.path == "/pids"
        self.send_response(200 if good else 503)
        self.end_headers()
        self.wfile.write(" ".join(map(str, PIDS)).encode())

    def log_message(self, *_: object) -> None:
        pass


def load() -> None:
    steps = 4
    for step in range(steps + 1):
        sys.stdout.write(f"\rLoading weights: {100 * step // steps}%|####  | {step}/{steps}")
        sys.stdout.flush()
        time.sleep(float(OPTIONS.get("load_s", "0")) / (steps + 1))
    print("\nserving", flush=True)
    READY.set()


if OPTIONS.get("deaf"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "die" in OPTIONS and not ("once" in OPTIONS and Path(OPTIONS["once"]).exists()):
    if "once" in OPTIONS:
        Path(OPTIONS["once"]).write_text("")
    print("loading\nValueError: no such model: little", flush=True)
    sys.exit(int(OPTIONS["die"]))
if OPTIONS.get("child") == "session":
    PIDS.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True).pid)
print("secret in the environment" if "PARLEY_AUTH__TOKEN" in os.environ else "no secret in the environment", flush=True)
SERVER = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
threading.Thread(target=load, daemon=True).start()
SERVER.serve_forever()
