"""Token authentication: who may use a server on which ``auth.token`` is set.

A program sends the token itself (``Authorization: Bearer``, or ``?token=`` where a browser's WebSocket can send no header). A
browser logs in once and gets a cookie that holds no token: ``expiry.nonce.signature``, signed with a key derived from the
token, so that it outlives a restart of the server and ends with a change of the token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal

from pipeline.transports.bucket import Bucket
from web.rate import RateLimiter

COOKIE = "parley_session"
COOKIE_TTL_S = 30 * 24 * 3600
ATTEMPTS = 5  # failed attempts of one address at once ...
ATTEMPTS_PER_S = 1 / 12  # ... and after that one in this many seconds
ATTEMPTS_OVERALL = 100
ATTEMPTS_OVERALL_PER_S = 2.0

Verdict = Literal["yes", "no", "wrong", "slow down"]
"""``no``: nothing was presented. ``wrong``: what was presented is not the token. ``slow down``: it was not even compared."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request presents as its right to be answered."""

    bearer: str | None = None
    query: str | None = None
    cookie: str | None = None


class Authenticator:
    """Checks credentials. Without a token everybody is let in. Times are seconds: ``now`` since the epoch."""

    def __init__(self, token: str | None) -> None:
        self._digest = _digest(token) if token is not None else None
        # Stretched: a cookie must not allow a short token to be guessed offline at the speed of a plain hash.
        self._key = hashlib.scrypt(token.encode(), salt=b"parley cookie", n=2**14, r=8, p=1) if token is not None else b""
        self._by_address = RateLimiter(ATTEMPTS, ATTEMPTS_PER_S)
        self._overall = Bucket(ATTEMPTS_OVERALL, ATTEMPTS_OVERALL_PER_S)

    @property
    def required(self) -> bool:
        """Whether a token is set."""
        return self._digest is not None

    def check(self, presented: Presented, *, address: str, now: float) -> Verdict:
        """Judge a request from ``address``. Only wrong tokens count as attempts; a cookie cannot be guessed, so it does not."""
        if self._digest is None:
            return "yes"
        if presented.cookie is not None and self._valid_cookie(presented.cookie, now):
            return "yes"
        token = presented.bearer if presented.bearer is not None else presented.query
        if token is None:
            return "no"
        return self.check_token(token, address=address, now=now)

    def check_token(self, token: str, *, address: str, now: float) -> Verdict:
        """Compare a token, in constant time and not too often."""
        if self._digest is None:
            return "yes"
        if self._by_address.retry_after_s(address, now) > 0 or self._overall.retry_after_s(now) > 0:
            return "slow down"
        if hmac.compare_digest(_digest(token), self._digest):
            return "yes"
        self._by_address.take(address, now)
        self._overall.take(now)
        return "wrong"

    def retry_after_s(self, address: str, now: float) -> float:
        """Seconds until a token of ``address`` is compared again."""
        return max(self._by_address.retry_after_s(address, now), self._overall.retry_after_s(now))

    def make_cookie(self, now: float) -> str:
        """The value of a new login's cookie."""
        body = f"{int(now) + COOKIE_TTL_S}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._sign(body)}"

    def _valid_cookie(self, value: str, now: float) -> bool:
        body, _, signature = value.rpartition(".")
        expiry, _, _ = body.partition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            return False
        return expiry.isascii() and expiry.isdigit() and int(expiry) > now

    def _sign(self, body: str) -> str:
        mac = hmac.new(self._key, body.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def _digest(token: str) -> bytes:
    # Equal lengths, so that the comparison does not tell the token's length.
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def bearer_of(authorization: str | None) -> str | None:
    """The token of an ``Authorization: Bearer`` header; ``None`` for no header or another scheme."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
