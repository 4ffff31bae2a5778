"""The image and the compose file agree with the program: there is no Docker engine to run them on where tests run."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from aioice import stun, turn

from pipeline.settings.describe import ENV_PREFIX, keys
from pipeline.settings.load import load_settings
from pipeline.transports.signalling import turn_credentials

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CONF = (ROOT / "deploy" / "turnserver.conf").read_text(encoding="utf-8")
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
OWN_VARIABLES = {
    "CUDA",
    "TURN_HOST",
    "HF_TOKEN",
    "LLM_MODEL_NAME",
    "LLM_MAX_MODEL_LEN",
    "LLM_GPU_MEMORY_UTILIZATION",
}
"""Variables of the compose file that are not Parley's settings."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    return data


def settings_variables() -> set[str]:
    return {key.env for key in keys() if key.section is None}


def conf_values(name: str) -> list[str]:
    return [line.partition("=")[2] for line in CONF.splitlines() if line.partition("=")[0] == name]


def substituted(value: Any, env: dict[str, str]) -> Any:
    """``value`` as compose reads it, for the forms ``${X}``, ``${X:-default}`` and ``${X:?message}``."""
    if isinstance(value, dict):
        return {k: substituted(v, env) for k, v in value.items()}
    if isinstance(value, list):
        return [substituted(v, env) for v in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name, operator, word = match.groups()
        if env.get(name):
            return env[name]
        if operator == ":?":
            raise KeyError(f"{name}: {word}")
        return word if operator == ":-" else ""

    return VARIABLE.sub(replaced, value).replace("$$", "$")


# The image


@pytest.mark.parametrize("file", ["Dockerfile", "deploy/engines/Dockerfile"])
def test_the_linter_finds_nothing_in_a_dockerfile(file: str) -> None:
    done = subprocess.run([str(Path(sys.executable).parent / "hadolint"), str(ROOT / file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = [
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert len(copied) >= 10
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_the_image_runs_as_an_ordinary_user_with_its_state_in_a_volume() -> None:
    assert re.search(r"^USER (?!0|root)\d+:\d+$", DOCKERFILE, re.M)
    assert f"PARLEY_DATA_DIR={re.search(r'^VOLUME (.+)$', DOCKERFILE, re.M).group(1)}" in DOCKERFILE  # type: ignore[union-attr]
    assert "EXPOSE 7860" in DOCKERFILE
    assert load_settings(env={}, dotenv=None).server.port == 7860


def test_variables_of_the_image_are_settings() -> None:
    named = set(re.findall(rf"\b({ENV_PREFIX}\w+)=", DOCKERFILE))
    assert named
    assert named <= settings_variables()


@pytest.mark.parametrize("cuda", ["", "12.8"])
def test_cuda_is_a_choice_of_the_last_stage(cuda: str) -> None:
    stages = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.M)
    last = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.M)[-1]
    chosen = re.sub(r"\$\{CUDA:\+([^}]*)\}", r"\1" if cuda else "", last)
    assert chosen in stages
    assert chosen.endswith("-cuda") == bool(cuda)


def test_the_health_check_asks_a_real_server(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = json.loads(re.search(r"HEALTHCHECK.*?CMD (\[.*?\])", DOCKERFILE, re.S).group(1))  # type: ignore[union-attr]
    assert words[0] == "python"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PARLEY_SERVER__PORT", str(s.getsockname()[1]))

    def health() -> int:
        return subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True).returncode

    assert health() != 0
    server = subprocess.Popen([sys.executable, "run_agent.py", "serve"], cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while health() != 0:
            assert time.monotonic() < deadline, "it never became healthy"
            assert server.poll() is None
    finally:
        server.terminate()
        server.wait(60)


# The compose file


def services_of(compose: dict[str, Any], profile: str) -> dict[str, Any]:
    return {name: s for name, s in compose["services"].items() if profile in s["profiles"]}


def environments(compose: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, service in compose["services"].items():
        yield name, service.get("environment", {})


def test_every_variable_is_a_setting(compose: dict[str, Any]) -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    used = {match[0] for match in VARIABLE.findall(text)}
    assert used - OWN_VARIABLES <= settings_variables()
    assert used >= OWN_VARIABLES
    given = {name for _, environment in environments(compose) for name in environment if name.startswith(ENV_PREFIX)}
    assert len(given) > 5
    assert given <= settings_variables()


@pytest.mark.parametrize("profile", ["host", "relay", "gpu"])
def test_the_settings_of_a_profile_can_be_loaded(compose: dict[str, Any], profile: str) -> None:
    env = {"PARLEY_AUTH__TOKEN": "t" * 24, "PARLEY_WEBRTC__TURN__SECRET": "north", "TURN_HOST": "tutor.example"}
    (parley,) = (s for s in services_of(compose, profile).values() if s["image"] == "parley")
    settings = load_settings(env={k: str(v) for k, v in substituted(parley["environment"], env).items()}, dotenv=None)
    assert settings.auth.token is not None
    assert settings.server.port == 7860
    turn_urls = settings.webrtc.turn.urls
    if profile == "relay":
        assert turn_urls == ["turn:tutor.example:3478?transport=udp", "turn:tutor.example:3478?transport=tcp"]
        assert settings.webrtc.turn.secret is not None
        assert substituted(parley["ports"], env) == ["7860:7860"]
    else:
        assert not turn_urls
        assert parley["network_mode"] == "host"
        assert "ports" not in parley


def test_no_token_no_start(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        if service["image"] == "parley":
            with pytest.raises(KeyError, match="AUTH__TOKEN"):
                substituted(service["environment"], {})


def test_parley_keeps_its_state_and_no_rights(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        if service["image"] == "parley":
            assert "data:/data" in service["volumes"]
            assert (ROOT / "deploy" / service["build"]["context"] / "Dockerfile").is_file()
    assert "data" in compose["volumes"]


def test_coturn_relays_to_parley_and_to_nobody_else(compose: dict[str, Any]) -> None:
    subnet = ip_network(compose["networks"]["media"]["ipam"]["config"][0]["subnet"])
    addresses = {name: s["networks"]["media"]["ipv4_address"] for name, s in services_of(compose, "relay").items()}
    assert len(set(addresses.values())) == len(addresses) == 2
    assert all(ip_address(a) in subnet for a in addresses.values())
    assert conf_values("allowed-peer-ip") == [addresses["parley-relayed"]]
    assert conf_values("denied-peer-ip")[0] == "0.0.0.0-255.255.255.255"


def test_ports_agree(compose: dict[str, Any]) -> None:
    coturn = compose["services"]["coturn"]
    (port,) = conf_values("listening-port")
    assert set(coturn["ports"]) == {f"{port}:{port}/udp", f"{port}:{port}/tcp"}
    relayed = compose["services"]["parley-relayed"]["environment"]["PARLEY_WEBRTC__TURN__URLS"]
    assert re.findall(r":(\d+)\?transport=(\w+)", relayed) == [(port, "udp"), (port, "tcp")]
    low, high = int(*conf_values("min-port")), int(*conf_values("max-port"))
    page = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")
    assert f"{low} to {high}" in page
    # A page asks for a relay over UDP and over TCP on each of its networks, and Parley for one.
    per_call = 2 * 4 + 1
    assert high - low + 1 >= per_call * load_settings(env={}, dotenv=None).limits.max_calls


def script(compose: dict[str, Any]) -> str:
    entrypoint = compose["services"]["coturn"]["entrypoint"]
    assert entrypoint[:2] == ["sh", "-ec"]
    return str(substituted(entrypoint[2], {}))


def test_coturn_does_not_start_without_a_secret(compose: dict[str, Any]) -> None:
    done = subprocess.run(["/bin/sh", "-ec", script(compose)], env={}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "PARLEY_WEBRTC__TURN__SECRET must be set" in done.stderr


@pytest.fixture
async def coturn(compose: dict[str, Any], tmp_path: Path) -> AsyncIterator[int]:
    """A real coturn, started as in its container but on loopback and another port; the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    text = CONF.replace("/tmp/", f"{tmp_path}/").replace("listening-port=3478", f"listening-port={port}")
    (tmp_path / "given.conf").write_text(f"{text}listening-ip=127.0.0.1\nrelay-ip=127.0.0.1\n")
    started = script(compose).replace("/tmp/", f"{tmp_path}/").replace("/etc/parley/turnserver.conf", f"{tmp_path}/given.conf")
    process = await asyncio.create_subprocess_exec(
        "sh", "-ec", started, env={"PATH": "/usr/bin:/bin:/usr/sbin", "TURN_SECRET": "north"}, stdout=DEVNULL, stderr=DEVNULL
    )
    yield port
    process.terminate()
    await process.wait()


async def test_a_real_coturn_takes_the_file_and_refuses_other_peers(coturn: int) -> None:
    name, password = turn_credentials("north", "page", 600, time.time())
    async with asyncio.timeout(60):
        while True:  # until it listens
            try:
                relay, _ = await turn.create_turn_endpoint(
                    asyncio.DatagramProtocol, ("127.0.0.1", coturn), username=name, password=password, transport="tcp"
                )
                break
            except ConnectionError:
                await asyncio.sleep(0.1)
        low, high = int(*conf_values("min-port")), int(*conf_values("max-port"))
        assert low <= relay.get_extra_info("sockname")[1] <= high
        send = relay._TurnTransport__inner_protocol.send_data  # type: ignore[attr-defined] - sendto tells nobody of success
        await send(b"x", (conf_values("allowed-peer-ip")[0], 5000))
        with pytest.raises(stun.TransactionFailed, match="403"):
            await send(b"x", ("10.1.2.3", 5000))
        relay.close()
        await relay._TurnTransport__close_task  # type: ignore[attr-defined] - coturn must live to answer it
