"""Settings of SIP that cannot work are told when the program starts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipeline.settings.exchange import SipSettings


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"host": "localhost"}, "no IP address"),
        ({"public_address": "tutor.example.org"}, "no IP address"),
        ({"public_address": "0.0.0.0"}, "peers can send to"),
        ({"peers": ["10.0.0.1/8"]}, "neither an address nor a network"),
        ({"rtp_port_from": 20_000, "rtp_port_to": 20_000}, "greater than"),
        ({"registrar": "sip.example.org", "port": 0}, "needs phone.sip.port and phone.sip.user"),
        ({"registrar": "sip.example.org", "user": "100"}, "needs phone.sip.port and phone.sip.user"),
        ({"registrar": "sip.example.org", "user": "100", "port": 0}, "host is loopback"),
        ({"registrar": "sip:100@example.org", "user": "100", "port": 0}, "registrar"),
        ({"registrar": "a", "user": "100>\r\nX: y", "port": 0, "host": "0.0.0.0"}, "user"),
    ],
)
def test_what_cannot_work_is_told(given, told):
    with pytest.raises(ValidationError, match=told):
        SipSettings.model_validate(given)


@pytest.mark.parametrize("registrar", ["127.0.0.1:5070", "localhost", "[::1]:5060", "127.0.0.5"])
def test_a_registrar_on_this_machine_needs_no_other_address(registrar):
    assert SipSettings(port=0, registrar=registrar, user="100").host == "127.0.0.1"


def test_a_password_is_not_shown():
    assert "secret" not in repr(SipSettings.model_validate({"password": "secret"}))
