"""The self-signed certificate, and what is said of an operator's own."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pipeline.settings.load import SettingsError
from pipeline.settings.tree import ServerSettings
from web.tls import RENEW_BEFORE_END, VALID_FOR, certificate_files, make_certificate, needs_renewal, own_names, self_signed

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)


def test_certificate_names_this_machine() -> None:
    names = ["localhost", "127.0.0.1", "::1", "10.0.0.1", "müller"]
    certificate = x509.load_pem_x509_certificate(make_certificate(names, NOW)[0])
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert held.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(ip) for ip in held.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.1"]
    assert certificate.not_valid_before_utc < NOW < certificate.not_valid_after_utc


def test_renewal() -> None:
    pem, _ = make_certificate(["localhost", "10.0.0.1"], NOW)
    assert not needs_renewal(pem, ["localhost"], NOW)
    assert needs_renewal(pem, ["localhost", "10.0.0.2"], NOW)
    assert not needs_renewal(pem, ["localhost"], NOW + VALID_FOR - RENEW_BEFORE_END - dt.timedelta(days=1))
    assert needs_renewal(pem, ["localhost"], NOW + VALID_FOR - RENEW_BEFORE_END + dt.timedelta(days=1))
    assert needs_renewal(pem, ["localhost"], NOW - dt.timedelta(days=1))
    assert needs_renewal(b"rubbish", ["localhost"], NOW)


def test_kept_until_it_must_be_made_anew(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path / "tls", "127.0.0.1", NOW)
    first = certificate.read_bytes()
    assert key.stat().st_mode & 0o777 == 0o600
    assert self_signed(tmp_path / "tls", "127.0.0.1", NOW)[0].read_bytes() == first
    assert self_signed(tmp_path / "tls", "10.99.99.99", NOW)[0].read_bytes() != first
    second = certificate.read_bytes()
    assert self_signed(tmp_path / "tls", "10.99.99.99", NOW + VALID_FOR)[0].read_bytes() != second
    third = certificate.read_bytes()
    key.write_bytes(make_certificate(["localhost"], NOW)[1])
    assert self_signed(tmp_path / "tls", "10.99.99.99", NOW + VALID_FOR)[0].read_bytes() != third
    assert sorted(p.name for p in (tmp_path / "tls").iterdir()) == ["cert.pem", "key.pem"]


def test_bound_address_is_named() -> None:
    assert "10.99.99.99" in own_names("10.99.99.99")
    assert "0.0.0.0" not in own_names("0.0.0.0")
    for name in own_names("0.0.0.0"):
        assert name
    ipaddress.ip_address(own_names("::1")[1])


def test_own_files(tmp_path: Path) -> None:
    pem, key = make_certificate(["localhost"], dt.datetime.now(dt.UTC))
    certificate_file, key_file, both = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "both.pem"
    certificate_file.write_bytes(pem)
    key_file.write_bytes(key)
    both.write_bytes(pem + key)
    assert certificate_files(ServerSettings(cert_file=certificate_file, key_file=key_file), tmp_path) == (
        certificate_file,
        key_file,
    )
    assert certificate_files(ServerSettings(cert_file=both), tmp_path) == (both, both)

    with pytest.raises(SettingsError, match=r"key_file is not set and server\.cert_file: .* holds no PEM private key"):
        certificate_files(ServerSettings(cert_file=certificate_file), tmp_path)
    with pytest.raises(SettingsError, match=r"server\.key_file: .* holds no PEM private key"):
        certificate_files(ServerSettings(cert_file=certificate_file, key_file=certificate_file), tmp_path)
    key_file.write_bytes(make_certificate(["localhost"], NOW)[1])
    with pytest.raises(SettingsError, match=r"server\.key_file: .* does not belong to the certificate"):
        certificate_files(ServerSettings(cert_file=certificate_file, key_file=key_file), tmp_path)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    key_file.write_bytes(locked)
    with pytest.raises(SettingsError, match="passphrase"):
        certificate_files(ServerSettings(cert_file=certificate_file, key_file=key_file), tmp_path)
    with pytest.raises(SettingsError, match="cannot be read: is a directory"):
        certificate_files(ServerSettings(cert_file=tmp_path, key_file=key_file), tmp_path)
