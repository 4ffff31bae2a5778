"""``python -m engines.kyutai stt|tts --config FILE``: one engine. Its step process is this one; it starts the front-ends."""

from __future__ import annotations

import argparse
import gc
import logging
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from engines.kyutai.link.host import Host, listeners, stop_on_signals
from engines.kyutai.settings import EngineSettings, SettingsError, SttSettings, TtsSettings, read_settings

KINDS: dict[str, type[EngineSettings]] = {"stt": SttSettings, "tts": TtsSettings}
log = logging.getLogger("engines.kyutai")


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 where it was asked to stop, 2 where the settings are wrong, 1 where it cannot serve."""
    parser = argparse.ArgumentParser(prog="python -m engines.kyutai", description="A batched speech engine")
    parser.add_argument("engine", choices=sorted(KINDS))
    parser.add_argument("--config", type=Path, required=True, help="a YAML file")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {chosen.engine} %(levelname)s %(message)s")
    try:
        settings = read_settings(chosen.config, KINDS[chosen.engine])
        sockets = listeners(settings.host, settings.port, settings.front_ends)
    except SettingsError as e:
        print(e, file=sys.stderr)
        return 2
    except OSError as e:
        print(f"{settings.host}:{settings.port}: {e.strerror or e}", file=sys.stderr)
        return 1
    host = Host(sockets, settings.door_spec())
    # While the model is loaded there is nothing to bring to an end but this process and its front-ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    address = sockets[0].getsockname()
    log.info("listening on %s:%d", address[0], address[1])
    try:
        host.start()
        begun_s = time.monotonic()
        try:
            engine, about = import_module(f"engines.kyutai.{chosen.engine}_engine").load(settings, host.send)
        except (ValueError, OSError) as e:
            print(e, file=sys.stderr)
            return 1
        log.info("ready after %.1f s: %s", time.monotonic() - begun_s, about)
        stop_on_signals(host)
        # A full collection of all that torch and the model consist of would take longer than a step may.
        gc.collect()
        gc.freeze()
        host.ready(about)
        host.run(engine)
        return 0
    finally:
        host.close()


if __name__ == "__main__":
    sys.exit(main())
