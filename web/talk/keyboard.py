"""Single keys from a terminal, as they are pressed."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def keys(pressed: Callable[[str], None], fd: int | None = None) -> Iterator[bool]:
    """Call ``pressed`` with every character while the context lasts, without echo and without waiting for a line.

    Gives whether there are keys: none come where ``fd`` (standard input) is no terminal, or the system has no POSIX terminals.
    Escape sequences (arrows and their kin) are left out; Ctrl-C stays a signal.
    """
    try:
        import termios
        import tty

        fd = sys.stdin.fileno() if fd is None else fd
        before = termios.tcgetattr(fd)
    except (ImportError, OSError, ValueError, termios.error):
        yield False
        return
    loop, decoder = asyncio.get_running_loop(), codecs.getincrementaldecoder("utf-8")("replace")

    def ready() -> None:
        data = os.read(fd, 1024)
        if not data:
            loop.remove_reader(fd)
        text = decoder.decode(data)
        if text.startswith("\x1b") and len(text) > 1:
            return
        for key in text:
            pressed(key)

    tty.setcbreak(fd)
    loop.add_reader(fd, ready)
    try:
        yield True
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
