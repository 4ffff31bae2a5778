"""Who can reach an address, and what is printed for them."""

from __future__ import annotations

import socket

import pytest

from pipeline.settings.load import SettingsError
from pipeline.settings.tree import Settings
from web.cli.banner import banner, url
from web.cli.listen import bind, is_loopback, look_at_door_ports, require_token, resolve


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("10.0.0.1", False)],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", ""])
def test_open_addresses_need_a_token(host: str) -> None:
    with pytest.raises(SettingsError, match=r"export PARLEY_AUTH__TOKEN=\S{30,}"):
        require_token(Settings.model_validate({"server": {"host": host}}))
    require_token(Settings.model_validate({"server": {"host": host}, "auth": {"token": "x"}}))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_loopback_needs_none(host: str) -> None:
    require_token(Settings.model_validate({"server": {"host": host}}))


def test_localhost_is_ipv4_first() -> None:
    assert resolve("localhost") == (socket.AF_INET, "127.0.0.1")


def test_bound_socket_answers_at_once_and_cannot_be_bound_again() -> None:
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(SettingsError, match=rf"server\.port: {port} on 127\.0\.0\.1 is taken"):
            bind("127.0.0.1", port)


def telephones(**phone: object) -> Settings:
    return Settings.model_validate({"phone": phone})


def test_ports_of_telephones_are_looked_at_before_the_app_takes_them() -> None:
    assert look_at_door_ports(Settings()) == [], "both are off"
    with bind("127.0.0.1", 0) as taken, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        tcp_port, udp_port = taken.getsockname()[1], udp.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"phone\.audiosocket\.port: {tcp_port} on 127\.0\.0\.1 is taken"):
            look_at_door_ports(telephones(audiosocket={"port": tcp_port}))
        with pytest.raises(SettingsError, match=rf"phone\.sip\.port: {udp_port} on 127\.0\.0\.1 is taken"):
            look_at_door_ports(telephones(sip={"port": udp_port, "peers": ["127.0.0.1"]}))
    both = telephones(audiosocket={"port": tcp_port}, sip={"port": udp_port, "peers": ["127.0.0.1"]})
    for _ in range(2):  # They are let go.
        assert look_at_door_ports(both) == [f"AudioSocket on 127.0.0.1 port {tcp_port}", f"SIP on 127.0.0.1 port {udp_port}"]
    with pytest.raises(SettingsError, match=r"phone\.audiosocket\.host: .* cannot be listened on"):
        look_at_door_ports(telephones(audiosocket={"port": 0, "host": "192.0.2.1"}))


def test_url() -> None:
    assert url("https", "::1", 1) == "https://[::1]:1/"
    assert url("http", "localhost", 7860) == "http://localhost:7860/"


def test_banner_on_loopback_is_short() -> None:
    text = banner(https=False, address="127.0.0.1", port=7860, lan=[], needs_token=False, self_signed=False)
    assert "http://127.0.0.1:7860/" in text
    assert "device" not in text
    assert "token" not in text


def test_banner_for_others() -> None:
    plain = banner(https=False, address="0.0.0.0", port=1, lan=["10.0.0.1", "10.0.0.2"], needs_token=True, self_signed=False)
    assert "http://localhost:1/" in plain
    assert "http://10.0.0.1:1/" in plain
    assert "http://10.0.0.2:1/" in plain
    assert "--https" in plain
    assert "PARLEY_AUTH__TOKEN" in plain
    assert "█" in plain
    secure = banner(https=True, address="10.0.0.1", port=1, lan=[], needs_token=True, self_signed=True)
    assert "https://10.0.0.1:1/" in secure
    assert "--https" not in secure
    assert "self-signed" in secure
