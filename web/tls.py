"""The certificate that ``--https`` serves: the operator's own, or a self-signed one that is kept under ``data_dir``."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import secrets
import socket
import ssl
from collections.abc import Collection, Iterable
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.settings.load import SettingsError
from pipeline.settings.tree import ServerSettings

# Apple's systems take no server certificate that is valid for longer than 825 days; made anew well before its end.
VALID_FOR = dt.timedelta(days=397)
RENEW_BEFORE_END = dt.timedelta(days=30)


def lan_addresses() -> list[str]:
    """This machine's IPv4 addresses that others on its network may reach, the default route's first."""
    found = []
    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    for interface, addresses in psutil.net_if_addrs().items():
        for address in addresses:
            if interface in up and address.family == socket.AF_INET:
                ip = ipaddress.ip_address(address.address)
                if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified):
                    found.append(address.address)
    first = _default_source()
    return sorted(set(found), key=lambda a: (a != first, ipaddress.ip_address(a)))


def _default_source() -> str | None:
    # Connecting a UDP socket sends nothing: it only asks the routing table. 192.0.2.1 is for documentation (RFC 5737).
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def own_names(host: str) -> list[str]:
    """What a certificate for this machine must name: loopback, its host name, its addresses, and the bound ``host``."""
    names = ["localhost", "127.0.0.1", "::1"]
    name = socket.gethostname()
    names += [name, *([f"{name}.local"] if "." not in name else [])] if name else []
    names += lan_addresses()
    if host not in ("", "0.0.0.0", "::"):
        names.append(host)
    return list(dict.fromkeys(names))


def _alternative_names(names: Iterable[str]) -> list[x509.GeneralName]:
    result: list[x509.GeneralName] = []
    for name in names:
        try:
            result.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                result.append(x509.DNSName(name))
            except ValueError:
                continue  # A host name outside ASCII cannot stand in a certificate; the addresses remain.
    return result


def make_certificate(names: Collection[str], now: dt.datetime) -> tuple[bytes, bytes]:
    """A new self-signed certificate and its key for ``names`` (host names and addresses), both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Parley (self-signed)")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))  # For clients whose clock is behind.
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName(_alternative_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), pem


def needs_renewal(certificate_pem: bytes, names: Iterable[str], now: dt.datetime) -> bool:
    """Whether the certificate is unreadable, at its end, or lacks one of ``names``."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return True
    if now < certificate.not_valid_before_utc or now > certificate.not_valid_after_utc - RENEW_BEFORE_END:
        return True
    return any(name not in held for name in _alternative_names(names))


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write ``data`` so that readers see the old file or the new one, and nobody else reads a key meanwhile."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    draft.replace(path)


def self_signed(folder: Path, host: str, now: dt.datetime | None = None) -> tuple[Path, Path]:
    """Paths of the kept self-signed certificate and its key (mode 600), made or renewed where needed.

    Raises:
        SettingsError: the folder cannot be written.
    """
    now = now if now is not None else dt.datetime.now(dt.UTC)
    names = own_names(host)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if certificate.is_file() and key.is_file() and not needs_renewal(certificate.read_bytes(), names, now):
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
                return certificate, key
            except ssl.SSLError:
                pass  # A pair that does not belong together: make a new one.
        certificate_pem, key_pem = make_certificate(names, now)
        _write(key, key_pem, 0o600)
        _write(certificate, certificate_pem, 0o644)
    except OSError as e:
        raise SettingsError(f"cannot keep a certificate in '{folder}': {(e.strerror or str(e)).lower()}") from None
    return certificate, key


def certificate_files(server: ServerSettings, data_dir: Path) -> tuple[Path, Path]:
    """Paths of the certificate chain and the key to serve with.

    Raises:
        SettingsError: one line that says which setting is wrong and why.
    """
    if server.cert_file is None:
        if server.key_file is not None:
            raise SettingsError("server.key_file: needs server.cert_file beside it; without both a certificate is made")
        return self_signed(data_dir / "tls", server.host)
    certificate = server.cert_file.expanduser()
    key = server.key_file.expanduser() if server.key_file is not None else certificate
    _check_readable("server.cert_file", certificate)
    if server.key_file is not None:
        _check_readable("server.key_file", key)
    try:
        if not x509.load_pem_x509_certificates(certificate.read_bytes()):
            raise ValueError
    except ValueError:
        raise SettingsError(f"server.cert_file: '{certificate}' holds no PEM certificate") from None
    _check_key(key, "server.key_file" if server.key_file is not None else "server.key_file is not set and server.cert_file")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError:
        raise SettingsError(f"server.key_file: '{key}' does not belong to the certificate '{certificate}'") from None
    return certificate, key


def _check_readable(setting: str, path: Path) -> None:
    try:
        path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{setting}: '{path}' does not exist") from None
    except OSError as e:
        raise SettingsError(f"{setting}: '{path}' cannot be read: {(e.strerror or str(e)).lower()}") from None


def _check_key(path: Path, setting: str) -> None:
    try:
        serialization.load_pem_private_key(path.read_bytes(), password=None)
    except TypeError:
        raise SettingsError(f"{setting}: '{path}' is protected by a passphrase; allowed: a key without one") from None
    except ValueError:
        raise SettingsError(f"{setting}: '{path}' holds no PEM private key") from None
