"""The process between the server and an engine. It runs the engine's command and sees that nothing of it outlives the server.

    python keeper.py PARENT GRACE_S COMMAND ...

``PARENT`` is the server's process id. The keeper's standard input is a pipe that only the server holds: its end, or the
server's death by whatever signal, ends the engine (SIGTERM to its process group, SIGKILL ``GRACE_S`` seconds later).
Processes that the engine leaves behind are killed too, even those that went into a session of their own: Linux makes them
children of the keeper. The exit code is the engine's, or 128 and the number of the signal that killed it.

It is run as a file, without site-packages, so that it starts in some ms and needs little memory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# From Linux's sys/prctl.h.
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

NOT_STARTED = 127
_SWEEP_S = 5.0


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the server does; the exit code to end with."""
    parent, grace_s, command = int(arguments[0]), float(arguments[1]), arguments[2:]
    # Signals may come while another is being handled. So their handler takes no lock, and only one thread stops the engine.
    told, tell = os.pipe()
    os.set_blocking(tell, False)

    def asked_to_stop(*_: object) -> None:
        with contextlib.suppress(OSError):  # A full pipe has told it.
            os.write(tell, b".")

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, asked_to_stop)

    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None) if linux else None
    if libc is not None:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # It died before it could be watched.
        return NOT_STARTED

    def die_with_the_keeper() -> None:
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=die_with_the_keeper)
    except OSError as e:
        print(f"{command[0]}: {e.strerror}", file=sys.stderr)
        return NOT_STARTED

    def stop_when_asked() -> None:
        with contextlib.suppress(OSError):
            while told not in (ready := select.select([0, told], [], [])[0]) and os.read(ready[0], 64):
                pass
        _signal_group(child.pid, signal.SIGTERM)
        time.sleep(grace_s)
        _signal_group(child.pid, signal.SIGKILL)

    threading.Thread(target=stop_when_asked, daemon=True).start()
    code = child.wait()
    _signal_group(child.pid, signal.SIGKILL)
    if linux:
        _sweep()
    return code if code >= 0 else 128 - code


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def _sweep() -> None:
    """Kill and reap every process that stems from this one."""
    deadline = time.monotonic() + _SWEEP_S
    while left := _descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:  # A process in the kernel's hands dies when it comes back.
            return
        time.sleep(0.02)


def _descendants(root: int) -> list[int]:
    """The processes that stem from ``root``, by what /proc says of each one's parent."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # The name, in brackets, may hold anything; the state and the parent follow it.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
