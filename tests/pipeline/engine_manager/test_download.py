"""Weights are fetched with the real library from a hub of the test's own: progress, resuming, and what is said of trouble."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline.engine_manager.cache import Weights, lies, snapshot, wanted
from pipeline.engine_manager.download import DownloadFailed, download
from pipeline.settings.load import load_settings

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-engines-test" / "bin" / "python"
needs_library = pytest.mark.skipif(not PYTHON.is_file(), reason="the engines' environment was left out (ENGINES=0)")
COMMIT = "a" * 40
FILES = {"config.json": b'{"a": 1}', "model.safetensors": os.urandom(24_000_000), "README.md": b"words"}


class Hub(ThreadingHTTPServer):
    """What the library asks of a hub: the list of files, and the files themselves, in parts where it wants."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.cut_after: int | None = None
        """Bytes of an answer after which the connection is lost, once."""
        self.broken: str | None = None
        """A file that cannot be had."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if re.fullmatch(r"/api/models/tiny/voice(/revision/main)?", path):
            listed = [{"rfilename": n, "size": len(d), "blobId": _git(d), **_lfs(n, d)} for n, d in FILES.items()]
            return self._send(200, json.dumps({"id": "tiny/voice", "sha": COMMIT, "siblings": listed}).encode(), {}, body)
        name = re.sub(r".*/resolve/[^/]+/", "", path)
        if body and name == self.server.broken:
            return self._send(501, b"", {}, body)
        if not path.startswith("/tiny/voice/resolve/") or name not in FILES:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"}, body)
        data, start = FILES[name], 0
        tag = _lfs(name, data)["lfs"]["sha256"] if _lfs(name, data) else _git(data)
        if wanted_range := self.headers.get("Range"):
            start = int(wanted_range.removeprefix("bytes=").split("-")[0])
        if body:
            self.server.asked.append((name, wanted_range))
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206 if start else 200, data[start:], headers, body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        cut = self.server.cut_after
        if body and cut is not None and len(data) > cut:
            self.wfile.write(data[:cut])
            self.wfile.flush()
            self.server.cut_after = None
            self.close_connection = True
            self.connection.close()
        elif body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(name: str, data: bytes) -> dict[str, dict[str, object]]:
    digest = hashlib.sha256(data).hexdigest()
    return {"lfs": {"sha256": digest, "size": len(data), "pointerSize": 134}} if name.endswith(".safetensors") else {}


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def environment(url: str, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and not k.lower().endswith("_proxy")}
    return {**clean, "HF_ENDPOINT": url, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", **more}


def fetched(hub: Hub, weights: Weights, models: Path) -> tuple[Path, list[tuple[int, int, str]]]:
    told: list[tuple[int, int, str]] = []
    folder = download(weights, models, lambda *what: told.append(what), python=str(PYTHON), env=environment(hub.url))
    return folder, told


@needs_library
def test_all_files_of_a_repository_are_fetched_once(hub: Hub, tmp_path: Path) -> None:
    weights, models = Weights("tts", "tiny/voice"), tmp_path / "models"
    assert lies(weights, models) == ("missing", 0)
    folder, told = fetched(hub, weights, models)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    size = sum(map(len, FILES.values()))
    assert told[-1][:2] == (size, size)
    assert lies(weights, models) == ("there", size)
    assert snapshot(weights, models) == folder
    hub.asked.clear()
    fetched(hub, weights, models)
    assert hub.asked == [], "nothing is fetched twice"


@needs_library
def test_only_the_files_that_are_wanted(hub: Hub, tmp_path: Path) -> None:
    folder, _ = fetched(hub, Weights("tts", "tiny/voice", ("*.json",)), tmp_path)
    assert [file.name for file in folder.iterdir()] == ["config.json"]
    assert snapshot(Weights("tts", "tiny/voice", ("*.safetensors",)), tmp_path) is None, "another part is not there yet"
    with pytest.raises(DownloadFailed, match=r"tiny/voice: the hub refused it \(it has no files like \*\.bin\)"):
        fetched(hub, Weights("tts", "tiny/voice", ("*.bin",)), tmp_path)


@needs_library
def test_a_lost_connection_is_gone_on_with_where_it_was(hub: Hub, tmp_path: Path) -> None:
    hub.cut_after = 15_000_000  # The library writes 10 MB at a time.
    folder, _ = fetched(hub, Weights("tts", "tiny/voice", ("*.safetensors",)), tmp_path)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert [name for name, _ in hub.asked] == ["model.safetensors"] * 2
    assert hub.asked[0][1] is None
    assert re.fullmatch(r"bytes=[1-9]\d*-\d*", hub.asked[1][1] or ""), "only the rest is asked for"


@needs_library
def test_a_failed_download_is_gone_on_with_later(hub: Hub, tmp_path: Path) -> None:
    weights = Weights("tts", "tiny/voice")
    hub.broken = "model.safetensors"
    with pytest.raises(DownloadFailed, match=r"tiny/voice: 501"):
        fetched(hub, weights, tmp_path)
    assert {name for name, _ in hub.asked} >= {"config.json"}
    first = lies(weights, tmp_path)
    assert first[1] < 1000
    hub.broken = None
    hub.asked.clear()
    fetched(hub, weights, tmp_path)
    assert "config.json" not in {name for name, _ in hub.asked}, "what was there is not fetched again"
    assert lies(weights, tmp_path) == ("there", sum(map(len, FILES.values())))


def test_half_a_file_is_told_from_a_whole_one(tmp_path: Path) -> None:
    weights = Weights("tts", "tiny/voice")
    folder = weights.folder(tmp_path)
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / "ab12.incomplete").write_bytes(bytes(10))
    assert lies(weights, tmp_path) == ("unfinished", 10)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "snapshots" / COMMIT / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert lies(weights, tmp_path)[0] == "unfinished"
    (folder / "blobs" / "ab12").write_bytes(bytes(20))
    assert lies(weights, tmp_path) == ("there", 30), "the rest of another attempt does not count"


@needs_library
def test_without_a_network_one_line_names_the_hub_and_the_repository(tmp_path: Path) -> None:
    weights = Weights("stt", "kyutai/stt-1b-en_fr")
    with pytest.raises(DownloadFailed) as raised:
        download(weights, tmp_path, lambda *_: None, python=str(PYTHON), env=environment("http://127.0.0.1:9"))
    text = str(raised.value)
    assert text.startswith("kyutai/stt-1b-en_fr: the hub cannot be reached (http://127.0.0.1:9: ")
    assert text.endswith(f"copy the folder {tmp_path}/models--kyutai--stt-1b-en_fr from one that has it")
    assert "\n" not in text
    offline = environment("http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    with pytest.raises(DownloadFailed, match=r"cannot be reached \(HF_HUB_OFFLINE is set\)"):
        download(weights, tmp_path, lambda *_: None, python=str(PYTHON), env=offline)


@needs_library
def test_a_wrong_name_is_told(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match=r"tiny/nobody: the hub refused it \(404\): look whether the name is right"):
        fetched(hub, Weights("stt", "tiny/nobody"), tmp_path)


def test_what_the_settings_want_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "stt.yaml").write_text("model: kyutai/stt\n")
    (tmp_path / "local").mkdir()
    launch = "launch: {command: [x]}"
    file = tmp_path / "own.yaml"
    file.write_text(
        "stt: {engine: kyutai}\nengines:\n"
        f"  stt: {{url: 'http://a:1', launch: {{command: [x], config: {tmp_path}/stt.yaml}}}}\n"
        f"  tts: {{url: 'http://a:2', model: not/needed, {launch}}}\n"
        f"  one: {{url: 'http://a:3', model: '{tmp_path}/local', {launch}}}\n"
        f"  two: {{url: 'http://a:4', model: some/repo, weights: [{{repo: kyutai/voices, files: ['a/*']}}], {launch}}}\n"
        f"  three: {{url: 'http://a:5', weights: [{{repo: kyutai/voices, files: ['b/*']}}], {launch}}}\n"
        "  four: {url: 'http://a:6', model: of/others}\n"
    )
    found = wanted(load_settings(file, env={}, dotenv=None))
    assert found == [
        Weights("stt", "kyutai/stt"),
        Weights("two", "some/repo"),
        Weights("two, three", "kyutai/voices", ("a/*", "b/*")),
    ]
