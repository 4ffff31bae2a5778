"""Imports run one way, and importing a room pulls in no more than it may."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Which of our own packages each may import. run_agent → web → pipeline → agent; engines stands alone.
MAY_IMPORT = {
    "run_agent": {"web", "pipeline", "agent"},
    "web": {"web", "pipeline", "agent"},
    "pipeline": {"pipeline", "agent", "engines.wire"},
    "agent": {"agent"},
    "engines": {"engines"},
}
OURS = {"run_agent", "web", "pipeline", "agent", "engines", "bench", "tests"}

# agent is pure: it knows no pipecat, no sockets, no event loop, no database, no clock.
NOT_IN_AGENT = {"pipecat", "socket", "asyncio", "threading", "subprocess", "sqlalchemy", "fastapi", "aiortc", "time"}


def files_of(package: str) -> list[Path]:
    single = ROOT / f"{package}.py"
    return [single] if single.is_file() else sorted((ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> list[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, wherever in it the import stands."""
    package = path.relative_to(ROOT).parent.parts
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_arrows(package: str) -> None:
    files = files_of(package)
    assert files, f"nothing found of {package}"
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in files
        for line, name in imports_of(path)
        if name.split(".")[0] in OURS and not any(within(name, allowed) for allowed in MAY_IMPORT[package])
    ]
    assert not wrong, "\n".join(wrong)


def test_agent_is_pure() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {name}"
        for path in files_of("agent")
        for line, name in imports_of(path)
        if name.split(".")[0] in NOT_IN_AGENT
    ]
    assert not wrong, "\n".join(wrong)


def modules_after(statement: str) -> set[str]:
    """Names of all modules that a fresh interpreter holds after ``statement``."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_engines_wire_pulls_in_nothing_else() -> None:
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files_of("engines/wire")]
    assert "engines.wire" in names
    extra = modules_after("import " + ", ".join(names)) - modules_after("pass")
    third_party = {m.split(".")[0] for m in extra} - set(sys.stdlib_module_names) - {"engines", "msgpack"}
    # What Cython's modules, such as msgpack's, leave there.
    assert not {name for name in third_party if "cython" not in name}
    assert not {m for m in extra if m.startswith("engines") and not m.startswith("engines.wire") and m != "engines"}


def test_engines_are_imported_only_when_chosen() -> None:
    held = modules_after("import pipeline.registry")
    assert not held & {"pocketsphinx", "espeakng_loader", "openai", "torch"}


def test_settings_need_no_pipecat() -> None:
    """A wrong key must be told at once, not after seconds of imports."""
    held = modules_after("import pipeline.settings.load, web.cli.listen")
    assert not held & {"pipecat", "aiortc", "fastapi", "uvicorn", "sqlalchemy"}
