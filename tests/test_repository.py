"""What must not stand in any file of the repository, and what must agree between files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Put together here, so that this file does not hold them either.
HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry.npm" + "js.org",
    "registry.yarn" + "pkg.com",
    "npm" + "mirror.com",
    "index.crates" + ".io",
    "proxy.golang" + ".org",
]
# A made-up person may stand in an example.
MACHINE_PATHS = re.compile(
    "(?<![\\w.}/-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"]) + r")/(?!somebody\b)\w"
)


def files() -> list[Path]:
    """Every file that is, or would be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    found = {str(path.relative_to(ROOT)): path.read_bytes() for path in files()}
    return {name: data.decode("utf-8") for name, data in found.items() if b"\0" not in data}


def test_no_registry_host_is_named(texts: dict[str, str]) -> None:
    assert len(texts) > 50
    wrong = [f"{name}: {host}" for name, text in texts.items() for host in HOSTS if host in text]
    assert not wrong, "\n".join(wrong)


def test_no_path_of_somebodys_machine_is_named(texts: dict[str, str]) -> None:
    wrong = [f"{name}: {match.group()}" for name, text in texts.items() for match in MACHINE_PATHS.finditer(text)]
    assert not wrong, "\n".join(wrong)


def test_requirements_are_exact_pins(texts: dict[str, str]) -> None:
    pin = re.compile(r"(#.*|-r (base|engines)\.txt|[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!-]+)?")
    wrong = [
        f"{name}: {line}"
        for name, text in texts.items()
        if name.startswith("requirements/")
        for line in text.splitlines()
        if not pin.fullmatch(line.strip())
    ]
    assert not wrong, "\n".join(wrong)
    assert "requirements/base.txt" in texts


def test_tested_python_is_the_same_everywhere(texts: dict[str, str]) -> None:
    wanted = tomllib.loads(texts["pyproject.toml"])["project"]["requires-python"].removeprefix("==").removesuffix(".*")
    assert f'TESTED="{wanted}"' in texts["scripts/find-python"]
    assert f"TESTED = (({wanted.replace('.', ', ')}),)" in texts["run_agent.py"]
    assert f"python:{wanted}-slim" in texts["Dockerfile"]


def test_licence_is_whole_and_names_the_gpl_part(texts: dict[str, str]) -> None:
    assert "Apache License" in texts["LICENSE"]
    assert "END OF TERMS AND CONDITIONS" in texts["LICENSE"]
    assert "espeak-ng" in texts["NOTICE"]
    assert "GPL" in texts["NOTICE"]
