"""What the pages name exists: files, links, settings, routes, metrics, commands, fields, and words of the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer

from bench.__main__ import BENCHES
from pipeline.metrics import prometheus
from pipeline.settings.describe import keys
from pipeline.settings.load import OTHER_VARIABLES
from pipeline.settings.tree import Settings
from run_agent import app as command_line
from web.app import create_app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
ROOMS = (
    "agent",
    "bench",
    "configs",
    "deploy",
    "docs",
    "engines",
    "evals",
    "pipeline",
    "requirements",
    "scripts",
    "tests",
    "web",
)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
NOT_ROUTES = {"/data"}
"""Paths in backticks that are folders of the image."""
pages = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def spans(page: Path) -> list[str]:
    """What stands in backticks, outside of blocks of code."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text(encoding="utf-8")))


def code(page: Path) -> list[str]:
    """What stands in backticks and in blocks of code."""
    return [*spans(page), *FENCE.findall(page.read_text(encoding="utf-8"))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}


def examples() -> set[str]:
    """Files that CONTRIBUTING.md lets its reader make."""
    return set(re.findall(r"`([\w/]+\.(?:py|yaml))`[^`]*:\n\n```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))


@cache
def sources() -> str:
    """All code, as one text."""
    files: Iterator[Path] = (
        path
        for room in (*ROOMS, "run_agent.py", "Makefile")
        for path in ([ROOT / room] if (ROOT / room).is_file() else (ROOT / room).rglob("*"))
        if path.suffix in (".py", ".ts", ".yaml", ".conf", ".css", "") and path.is_file() and "node_modules" not in path.parts
    )
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files if path != Path(__file__))


@cache
def source_words() -> frozenset[str]:
    """Its words, identifiers included."""
    return frozenset(re.findall(r"\w+", sources()))


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every path of the server, parameters as ``{}``."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("data")))
    routers = [getattr(route, "original_router", None) for route in app.routes]  # FastAPI keeps routers as they were given
    listed = {str(getattr(route, "path", "")) for router in routers if router is not None for route in router.routes}
    listed |= {"/openapi.json", *app.openapi()["paths"]}
    return {re.sub(r"\{[^}]*\}", "{}", path) for path in listed}


def test_there_are_pages() -> None:
    assert len(PAGES) > 10


@pages
def test_links_lead_somewhere(page: Path) -> None:
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


@pages
def test_files_exist(page: Path) -> None:
    named = [s.rstrip("/") for s in spans(page) if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", s) and s.split("/")[0] in ROOMS]
    wrong = [name for name in named if "NAME" not in name and name not in examples() and not (ROOT / name).exists()]
    assert wrong == []


@pages
def test_settings_exist(page: Path) -> None:
    known = {key.dotted for key in keys()}
    sections = {name.split(".")[0] for name in known}
    files = re.compile(r".*\.(py|md|yaml|flac|ogg|wav|log|db|json)")
    named = [re.split(r"[:=]", s)[0].strip() for s in spans(page)]
    wrong = [
        name
        for name in named
        if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", name) and name.split(".")[0] in sections and not files.fullmatch(name)
        if name not in known
    ]
    assert wrong == []


@pages
def test_variables_are_settings(page: Path) -> None:
    known = {key.env for key in keys()} | OTHER_VARIABLES
    named = re.findall(r"\bPARLEY_[A-Z][A-Z0-9_]*", page.read_text(encoding="utf-8"))
    assert [name for name in named if name not in known] == []


@pages
def test_metrics_exist(page: Path) -> None:
    families = list(prometheus.REGISTRY.collect())
    known = {f.name for f in families} | {f"{f.name}_total" for f in families if f.type == "counter"}
    labels = {label for c in vars(prometheus).values() for label in getattr(c, "_labelnames", ())}
    wrong = []
    for span in spans(page):
        match = re.fullmatch(r"(parley_\w+)(?:\{(\w+)=.*\})?", span)
        if match and (match[1] not in known or (match[2] and match[2] not in labels)):
            wrong.append(span)
    assert wrong == []


@pages
def test_routes_exist(page: Path, routes: set[str]) -> None:
    wrong = []
    for span in spans(page):
        match = re.fullmatch(r"(?:(?:GET|POST|PUT|PATCH|DELETE|HEAD) )?(/[a-z][^\s?]*|/)(?:\?\S*)?", span)
        if match is None:
            continue
        path = re.sub(r"\{[^}]*\}", "{}", match[1])
        if path not in routes | NOT_ROUTES:
            wrong.append(span)
    assert wrong == []


@pages
def test_commands_exist(page: Path) -> None:
    group = typer.main.get_command(command_line)
    commands = getattr(group, "commands")  # noqa: B009 - a click group, which typer's types do not say
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    wrong = []
    for text in code(page):
        for name, rest in re.findall(r"run_agent\.py ([a-z]+)([^\n]*)", text):
            known = {option for p in commands[name].params for option in p.opts} if name in commands else set()
            wrong += [f"{name} {o}" for o in re.findall(r"--[a-z]+", rest) if o not in known]
            wrong += [] if name in commands else [name]
        wrong += [f"make {name}" for name in re.findall(r"(?:^|\n)make ([a-z]+)", text) if name not in targets]
        wrong += [f"bench {name}" for name in re.findall(r"-m bench ([a-z]+)", text) if name not in BENCHES]
    assert wrong == []


@pages
def test_identifiers_occur_in_the_code(page: Path) -> None:
    """Fields, problem types and the like: snake_case in backticks."""
    words = {s for s in spans(page) if re.fullmatch(r"(?!parley_)[a-z][a-z0-9]*(_[a-z0-9]+)+", s)}
    own = {Path(name).stem for name in examples()}
    assert sorted(words - own - source_words()) == []


def test_problem_types_exist() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z]+(?:-[a-z]+)+)`", page, re.M)) | set(re.findall(r"\*\*\d{3} `([a-z-]+)`\*\*", page))
    assert len(named) > 5
    assert sorted(n for n in named if f'kind="{n}"' not in sources()) == []


@pytest.mark.parametrize("name", ["troubleshooting", "faults"])
def test_words_of_the_page_are_those_that_it_shows(name: str) -> None:
    """What is quoted is what the learner reads or hears."""
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    quoted = re.findall(r'"([A-Z][^"\n]{8,})"', "\n".join(line for line in page.splitlines() if not line.startswith("#")))
    assert len(quoted) > 7
    assert [q for q in quoted if q not in sources()] == []


def test_every_configuration_has_its_page() -> None:
    configs = sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert configs
    assert [name for name in configs if not (ROOT / "docs" / "configs" / f"{name}.md").is_file()] == []


def test_every_door_has_its_page() -> None:
    room = ROOT / "web" / "doors"
    doors = [path.stem for path in room.glob("*.py") if "APIRouter(" in path.read_text(encoding="utf-8")]
    doors += [path.parent.name for path in room.glob("*/__init__.py")]
    assert len(doors) > 4
    listed = (ROOT / "docs" / "doors" / "README.md").read_text(encoding="utf-8")
    assert [name for name in doors if not re.search(rf"\]\((\.\./)?{name}\.md\)", listed)] == []


def test_every_room_is_on_the_map() -> None:
    """Packages and folders of the pipeline and of the web application are named in the table of rooms."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = [
        path.parent for room in ("agent", "pipeline", "web", "bench", "engines") for path in (ROOT / room).glob("*/__init__.py")
    ]
    rooms = {str(path.relative_to(ROOT)) for path in found} | {
        "agent",
        "pipeline",
        "web",
        "bench",
        "engines",
        "deploy",
        "configs",
    }
    in_passing = {"bench/peers"}
    assert sorted(r for r in rooms - in_passing if f"`{r}`" not in page and f"`{r}/`" not in page) == []
    assert len(FENCE.findall(page)) == 1, "one diagram"
