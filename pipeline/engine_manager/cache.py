"""Which weights the settings want, and what of them lies on the disk, in the folders that Hugging Face's library makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.settings.processes import REPOSITORY
from pipeline.settings.tree import Settings

Lies = Literal["there", "unfinished", "missing"]


@dataclass(frozen=True, slots=True)
class Weights:
    """Files of a repository that somebody needs. ``files``: patterns; empty: all of them."""

    owner: str
    """Whose they are, in words, such as ``stt``."""
    repo: str
    files: tuple[str, ...] = ()
    revision: str = "main"

    def folder(self, models: Path) -> Path:
        """Where the repository's files lie under ``models``."""
        return models / f"models--{self.repo.replace('/', '--')}"


def wanted(settings: Settings) -> list[Weights]:
    """What the engines of ``settings`` need, each repository once."""
    found: dict[tuple[str, str], Weights] = {}
    for weights in _all(settings):
        key = (weights.repo, weights.revision)
        known = found.get(key)
        # No patterns means every file, and so does every file and some.
        files = () if known is not None and not (known.files and weights.files) else weights.files
        if known is not None and files:
            files = tuple(dict.fromkeys((*known.files, *weights.files)))
        owner = weights.owner if known is None or known.owner == weights.owner else f"{known.owner}, {weights.owner}"
        found[key] = Weights(owner, weights.repo, files, weights.revision)
    return list(found.values())


def _all(settings: Settings) -> Iterator[Weights]:
    from pipeline.engine_manager.launch import own_values, repositories, used

    for name, engine in used(settings).items():
        if engine.launch is None:
            continue
        named = [w.repo for w in engine.weights]
        own = own_values(name, engine)
        model = engine.model or str(own.get("model", ""))
        for repo in (model, *repositories(own).values()):
            if is_repository(repo) and repo not in named:
                yield Weights(name, repo)
        for w in engine.weights:
            yield Weights(name, w.repo, tuple(w.files), w.revision)
    for owner, model in _in_process(settings):
        if is_repository(model):
            yield Weights(owner, model)


def _in_process(settings: Settings) -> Iterator[tuple[str, str]]:
    """The models of stages that load them by themselves."""
    llm = settings.llm
    if llm.engine == "transformers" or (llm.engine == "vllm" and llm.fallback == "transformers"):
        yield "llm", llm.transformers.model


def is_repository(model: str) -> bool:
    """Whether ``model`` names a repository, and no folder of this machine."""
    return bool(REPOSITORY.fullmatch(model)) and not Path(model).expanduser().exists()


def lies(weights: Weights, models: Path) -> tuple[Lies, int]:
    """How much of ``weights`` is under ``models``, and its bytes. Whether single files are missing only a download can tell."""
    folder = weights.folder(models)
    blobs = list((folder / "blobs").glob("*"))
    size = sum(blob.stat().st_size for blob in blobs)
    if snapshot(weights, models) is None:
        return ("unfinished" if size else "missing"), size
    finished = {blob.name for blob in blobs if not blob.name.endswith(".incomplete")}
    # The library may leave the rest of an attempt behind whose file was finished by another.
    half = any(blob.name.endswith(".incomplete") and blob.name.partition(".")[0] not in finished for blob in blobs)
    return ("unfinished" if half else "there"), size


def snapshot(weights: Weights, models: Path) -> Path | None:
    """The folder with the files of ``weights`` under their own names; ``None`` where there is none yet."""
    folder = weights.folder(models)
    named = folder / "refs" / weights.revision
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else weights.revision
    found = folder / "snapshots" / commit
    files = [file for file in found.rglob("*") if file.is_file()]
    good = files and all(any(file.relative_to(found).match(p) for file in files) for p in weights.files)
    return found if good else None
