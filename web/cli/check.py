"""``run_agent.py check``: everything that ``serve`` needs, looked at without serving."""

from __future__ import annotations

import contextlib
import importlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.log import import_quietly, setup_logging
from pipeline.settings.load import DEFAULT_CONFIG, ROOT, SettingsError, load_settings, old_names, prepare_data_dir
from pipeline.settings.tree import LogSettings, Settings
from web.cli.check_engines import engine_findings
from web.cli.finding import Finding
from web.cli.listen import bind, look_at_door_ports, require_token
from web.tls import certificate_files, needs_renewal, own_names

# Module: the package that brings it. Only what every set-up needs.
MODULES = {
    "pipecat": "pipecat-ai",
    "pipecat.transports.smallwebrtc.transport": "pipecat-ai",
    "aiortc": "aiortc",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "uvloop": "uvloop",
    "httptools": "httptools",
    "websockets": "websockets",
    "sqlalchemy.ext.asyncio": "SQLAlchemy",
    "aiosqlite": "aiosqlite",
    "onnxruntime": "onnxruntime",
    "soxr": "soxr",
    "prometheus_client": "prometheus_client",
}

# Stage and engine: the modules that it alone needs, and what of them must lie on the disk.
ENGINE_MODULES: dict[tuple[str, str], dict[str, str]] = {
    ("stt", "pocketsphinx"): {"pocketsphinx": "pocketsphinx"},
    ("tts", "espeak"): {"espeakng_loader": "espeakng-loader"},
    ("stt", "whisper"): {"faster_whisper": "faster-whisper"},
    ("tts", "pocket"): {"pocket_tts": "pocket-tts"},
}
# Those of an optional requirement: the file that brings them.
EXTRAS = {"faster-whisper": "requirements/cpu.txt", "pocket-tts": "requirements/cpu.txt"}
TOOLS = {"ffmpeg": "ffmpeg", "flite": "flite", "espeak-ng": "espeak-ng", "chromium": "chromium", "coturn": "turnserver"}


def findings(config: Path | None, overrides: dict[str, Any]) -> Iterator[Finding]:
    """Every row in its order. Without usable settings only what does not depend on them."""
    yield Finding("Python", "ok", platform.python_version())
    settings: Settings | None = None
    try:
        settings = load_settings(config, overrides=overrides)
        yield Finding("configuration", "ok", str(config or DEFAULT_CONFIG))
        yield from (Finding("old variable", "note", note, "docs/gpu.md lists them") for note in old_names(config))
    except SettingsError as e:
        yield from (Finding("configuration", "problem", text, "docs/configuration.md lists every key") for text in e.problems)
    yield from _modules("packages", MODULES)
    yield _models()
    if settings is not None:
        yield from _of_settings(settings)
    yield _page()
    for name, command in TOOLS.items():
        path = shutil.which(command) or shutil.which(command, path="/usr/sbin")
        yield Finding(
            name, "ok" if path else "note", path or "not found; only tests use it", "" if path else "scripts/system-packages"
        )


def _of_settings(settings: Settings) -> Iterator[Finding]:
    stages = {"stt": settings.stt.engine, "llm": settings.llm.engine, "tts": settings.tts.engine}
    for stage, engine in stages.items():
        yield from _modules(f"{stage}: {engine}", ENGINE_MODULES.get((stage, engine), {}))
    if settings.stt.engine == "pocketsphinx":
        yield _pocketsphinx_model()
    if settings.tts.engine == "espeak":
        yield _espeak_data()
    yield from engine_findings(settings)
    yield _attempt("access", lambda: _access(settings), "or listen on 127.0.0.1 only")
    yield _attempt("port", lambda: _port(settings), "--port takes another one")
    if settings.phone.audiosocket.port is not None or settings.phone.sip.port is not None:
        yield _attempt("telephones", lambda: ", ".join(look_at_door_ports(settings)), "docs/phone.md")
    yield _attempt("data_dir", lambda: _data_dir(settings), "data_dir or PARLEY_DATA_DIR names another folder")
    yield _attempt("lessons", lambda: _lessons(settings), "docs/lessons.md says how a lesson is written")
    if settings.server.https:
        yield _attempt("certificate", lambda: _certificate(settings), "docs/https.md")


def _attempt(name: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(name, "ok", look())
    except SettingsError as e:
        return Finding(name, "problem", str(e), hint)


def _modules(name: str, modules: dict[str, str]) -> Iterator[Finding]:
    """One row for all that import, and one for each that does not."""
    good = []
    for module, package in modules.items():
        try:
            if module.startswith("pipecat"):
                import_quietly()
            importlib.import_module(module)
        except Exception as e:  # A broken native library can raise anything.
            reason = (str(e).splitlines() or [""])[0]
            extra = EXTRAS.get(package)
            hint = f"pip install -r {extra}" if extra else f"reinstall {package}: make clean run"
            yield Finding(name, "problem", f"{module}: {type(e).__name__}: {reason}", hint)
            continue
        with contextlib.suppress(PackageNotFoundError):
            good.append(f"{package} {version(package)}")
    if good or not modules:
        yield Finding(name, "ok", ", ".join(dict.fromkeys(good)) or "nothing but Parley")


def _files(name: str, paths: list[Path], package: str) -> Finding:
    for path in paths:
        if not path.exists():
            return Finding(name, "problem", f"{path} is missing", f"reinstall {package}: make clean run")
    return Finding(name, "ok", ", ".join(p.name for p in paths))


def _models() -> Finding:
    try:
        import_quietly()
        from importlib.resources import files

        vad = Path(str(files("pipecat.audio.vad.data"))) / "silero_vad.onnx"
        turn = sorted(Path(str(files("pipecat.audio.turn.smart_turn.data"))).glob("smart-turn-v3*.onnx"))
    except ImportError as e:
        return Finding("VAD and turn models", "problem", str(e), "reinstall pipecat-ai: make clean run")
    return _files("VAD and turn models", [vad, *(turn or [Path("smart-turn-v3.onnx")])], "pipecat-ai")


def _pocketsphinx_model() -> Finding:
    try:
        import pocketsphinx
    except ImportError as e:
        return Finding("recogniser's model", "problem", str(e), "reinstall pocketsphinx: make clean run")
    names = ("en-us/en-us", "en-us/en-us.lm.bin", "en-us/cmudict-en-us.dict")
    return _files("recogniser's model", [Path(pocketsphinx.get_model_path(n)) for n in names], "pocketsphinx")


def _espeak_data() -> Finding:
    try:
        import espeakng_loader
    except ImportError as e:
        return Finding("voice's data", "problem", str(e), "reinstall espeakng-loader: make clean run")
    paths = [Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())]
    return _files("voice's data", paths, "espeakng-loader")


def _access(settings: Settings) -> str:
    require_token(settings)
    return "with a token" if settings.auth.token is not None else "from this machine only, without a token"


def _port(settings: Settings) -> str:
    server = settings.server
    with bind(server.host, server.port) as listener:
        return f"{server.host} port {listener.getsockname()[1]} is free"


def _data_dir(settings: Settings) -> str:
    path = settings.data_dir.expanduser()
    made = [p for p in (path, *path.parents) if not p.exists()]
    try:
        prepare_data_dir(settings)
    finally:
        for folder in made:  # Only what this look made, innermost first.
            with contextlib.suppress(OSError):
                folder.rmdir()
    return f"{path}{' (will be made)' if made else ''}"


def _lessons(settings: Settings) -> str:
    from pipeline.lessons import offered_lessons

    try:
        return ", ".join(offered_lessons(settings.tutor))
    except ValueError as e:
        raise SettingsError(str(e)) from None


def _certificate(settings: Settings) -> str:
    if settings.server.cert_file is not None or settings.server.key_file is not None:
        return str(certificate_files(settings.server, settings.data_dir)[0])
    import datetime as dt

    kept = settings.data_dir.expanduser() / "tls" / "cert.pem"
    fresh = kept.is_file() and not needs_renewal(kept.read_bytes(), own_names(settings.server.host), dt.datetime.now(dt.UTC))
    return f"{kept} (self-signed)" if fresh else "a self-signed one will be made"


def _page() -> Finding:
    index = ROOT / "web" / "client" / "dist" / "index.html"
    if index.is_file():
        return Finding("page", "ok", str(index.parent))
    return Finding("page", "problem", f"{index} is missing", "make run builds it")


def check(config: Path | None, overrides: dict[str, Any], *, as_json: bool) -> int:
    """Print what was found; the exit code: 1 where something keeps ``serve`` from working."""
    setup_logging(LogSettings(level="WARNING"))
    rows = list(findings(config, overrides))
    ok = all(row.outcome != "problem" for row in rows)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [asdict(row) for row in rows]}, indent=2))
        return 0 if ok else 1

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    style = {"ok": "green", "problem": "bold red", "note": "yellow"}
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    for row in rows:
        # Text, not markup: a path may hold square brackets.
        table.add_row(Text(row.outcome, style[row.outcome]), Text(row.name), Text(row.detail), Text(row.hint))
    Console().print(table)
    return 0 if ok else 1
