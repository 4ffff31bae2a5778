"""Digest authentication as a client: RFC 2617 and RFC 7616, as RFC 3261 (section 22) and RFC 8760 bring them into SIP. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from web.doors.phone.sip.message import split

STRENGTH = ("SHA-256-SESS", "SHA-256", "MD5-SESS", "MD5")
"""What can be computed, the best first."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a 401 or 407 asks for."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    """As the server has written it."""
    qop: bool = False
    """Whether ``qop=auth`` is offered; without, the old form of RFC 2069 is spoken."""
    opaque: str = ""
    stale: bool = False
    """Whether the answer before was right but for its age."""


def parse_challenge(value: str) -> Challenge | None:
    """A value of WWW-Authenticate or Proxy-Authenticate; ``None`` where it asks for what cannot be computed."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    given: dict[str, str] = {}
    for part in split(rest, ","):
        name, _, text = part.partition("=")
        given.setdefault(name.strip().lower(), _unquoted(text.strip()))
    algorithm = given.get("algorithm", "MD5")
    offered = [q.strip().lower() for q in given.get("qop", "").split(",") if q.strip()]
    if algorithm.upper() not in STRENGTH or "nonce" not in given or (offered and "auth" not in offered):
        return None
    if algorithm.upper().endswith("-SESS") and not offered:
        return None
    stale = given.get("stale", "").lower() == "true"
    return Challenge(given.get("realm", ""), given["nonce"], algorithm, bool(offered), given.get("opaque", ""), stale)


def strongest(values: list[str]) -> Challenge | None:
    """The challenge to answer, of all that a response has."""
    found = [challenge for value in values if (challenge := parse_challenge(value)) is not None]
    return min(found, key=lambda c: STRENGTH.index(c.algorithm.upper()), default=None)


def answer(
    challenge: Challenge, *, user: str, password: str, method: str, uri: str, count: int = 1, client_nonce: str = ""
) -> str:
    """The value of Authorization or Proxy-Authorization.

    Args:
        challenge: What was asked for.
        user: The user's name.
        password: The password.
        method: The request's.
        uri: The request's address, as it stands in its first line.
        count: How many requests have been sent with this nonce, this one among them.
        client_nonce: Random; needed where the challenge has ``qop``.
    """
    name = challenge.algorithm.upper()
    digest = _sha256 if name.startswith("SHA-256") else _md5
    secret = digest(f"{user}:{challenge.realm}:{password}")
    if name.endswith("-SESS"):
        secret = digest(f"{secret}:{challenge.nonce}:{client_nonce}")
    request = digest(f"{method}:{uri}")
    fields = [
        f"username={_quoted(user)}",
        f"realm={_quoted(challenge.realm)}",
        f"nonce={_quoted(challenge.nonce)}",
        f"uri={_quoted(uri)}",
    ]
    if challenge.qop:
        response = digest(f"{secret}:{challenge.nonce}:{count:08x}:{client_nonce}:auth:{request}")
        fields += [f'response="{response}"', "qop=auth", f"nc={count:08x}", f"cnonce={_quoted(client_nonce)}"]
    else:
        fields.append(f'response="{digest(f"{secret}:{challenge.nonce}:{request}")}"')
    fields.append(f"algorithm={challenge.algorithm}")
    if challenge.opaque:
        fields.append(f"opaque={_quoted(challenge.opaque)}")
    return "Digest " + ", ".join(fields)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    plain, escaped = [], False
    for character in text[1:-1]:
        if character == "\\" and not escaped:
            escaped = True
        else:
            plain.append(character)
            escaped = False
    return "".join(plain)
