"""What ``serve`` prints when it listens: where to go, from this machine and from others."""

from __future__ import annotations

import io
import ipaddress

import qrcode


def url(scheme: str, host: str, port: int) -> str:
    """``https://[::1]:7860/`` and the like."""
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def qr_code(text: str) -> str:
    """``text`` as a QR code of half-block characters."""
    code = qrcode.QRCode(border=2, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(text)
    out = io.StringIO()
    # Inverted: most terminals are dark, and readers want dark on light.
    code.print_ascii(out=out, invert=True)
    return out.getvalue()


def banner(*, https: bool, address: str, port: int, lan: list[str], needs_token: bool, self_signed: bool) -> str:
    """The lines to print. ``address`` is the numeric bound address and ``lan`` this machine's addresses for others."""
    scheme = "https" if https else "http"
    ip = ipaddress.ip_address(address.split("%")[0])
    here = "localhost" if ip.is_unspecified else address
    lines = ["", f"  Parley is listening: {url(scheme, here, port)}"]
    others = [] if ip.is_loopback else (lan if ip.is_unspecified else [address])
    lines += [f"  From another device: {url(scheme, other, port)}" for other in others]
    if others:
        lines += ["", *("  " + row for row in qr_code(url(scheme, others[0], port)).splitlines())]
        if not https:
            lines.append("  Browsers give a page no microphone over plain http from another device: use --https.")
    if needs_token:
        lines.append("  Sign in with the token of auth.token (PARLEY_AUTH__TOKEN).")
    if self_signed:
        lines.append("  The certificate is self-signed: the browser asks once whether to go on (docs/https.md).")
    return "\n".join([*lines, "  Ctrl-C ends it; calls end with their report.", ""])
