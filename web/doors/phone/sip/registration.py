"""Being known to a registrar: RFC 3261, section 10, with passwords (``web.doors.phone.sip.digest``). Pure: the time is passed
in, in monotonic seconds.

::

    off ──begin──► trying ──200──► registered ──in good time──► trying
                     └──refused, no answer──► waiting ──5 s, 10 s, … 10 min──► trying
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from web.doors.phone.sip import digest
from web.doors.phone.sip.answering import ALLOW, PRODUCT, Address
from web.doors.phone.sip.digest import Challenge
from web.doors.phone.sip.message import BadMessage, Headers, Request, Response, encode, parse_address, parse_uri, parse_via
from web.doors.phone.sip.transactions import Resending

State = Literal["off", "trying", "registered", "waiting"]
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 600.0
MARGIN = 0.2
"""What part of the time granted is left when it is asked for anew; more than the half minute that an answer may take ..."""
LEAST_MARGIN_S = 35.0
LEAST_S = 20
"""... though a registrar that grants little is asked every so many seconds at most."""
MOST_EXPIRES_S = 86_400
MAX_TRIES = 4
"""Challenges and corrections in a row before a refusal counts as one."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who registers where."""

    domain: str
    """The registrar's, as its addresses have it."""
    user: str
    auth_user: str
    """The name that goes with the password."""
    password: str
    expires_s: int

    @property
    def address(self) -> str:
        """The address under which others call."""
        return f"sip:{self.user}@{_bracketed(self.domain)}"


class Registration:
    """One account. What ``begin``, ``tick``, ``receive`` and ``end`` return is to be sent to the registrar.

    Args:
        account: Who, and where.
        token: Makes names that nobody can guess.
    """

    def __init__(self, account: Account, token: Callable[[], str]) -> None:
        self.state: State = "off"
        self.problem = ""
        """Why it is not registered, for people."""
        self._account = account
        self._token = token
        self._local: Address = ("", 0)
        self._call_id = f"{token()}@parley"
        self._tag = token()
        self._cseq = 0
        self._branch = ""
        self._expires_s = account.expires_s
        self._challenge: Challenge | None = None
        self._proxy = False
        self._count = 0
        self._tries = 0
        self._proved = False
        self._failures = 0
        self._pending: Resending | None = None
        self._next_at: float | None = None
        self._ending = False

    @property
    def ended(self) -> bool:
        """Whether it has signed off, and the registrar has answered."""
        return self._ending and self._pending is None

    def begin(self, local: Address, now: float) -> list[bytes]:
        """Register. ``local`` is this side's address, as the registrar is to know it."""
        self._local, self._tries, self._proved = local, 0, False
        return [self._request(now)]

    def end(self, now: float) -> list[bytes]:
        """Sign off, where there is anything to sign off from."""
        known = self.state == "registered" or (self.state == "trying" and self._failures == 0)
        self._ending, self._next_at, self._pending, self.state = True, None, None, "off"
        self._tries, self._proved = 0, False
        return [self._request(now)] if known and self._cseq else []

    def tick(self, now: float) -> list[bytes]:
        """Send again, or anew. To be called some ten times a second."""
        if self._pending is not None:
            if self._pending.is_over(now):
                self._fail(now, "no answer")
            elif self._pending.is_due(now):
                return [self._pending.data]
        elif self._next_at is not None and now >= self._next_at:
            return self.begin(self._local, now)
        return []

    def receive(self, response: Response, now: float) -> list[bytes]:
        """An answer came. One to an earlier request says nothing.

        Raises:
            BadMessage: it is none.
        """
        vias = response.headers.each("Via")
        if self._pending is None or not vias or parse_via(vias[0]).branch != self._branch:
            return []
        if response.cseq != (self._cseq, "REGISTER"):
            return []
        if response.status < 200:
            return []
        self._pending = None
        if response.status in (401, 407):
            return self._challenged(response, now)
        if response.status == 423:
            return self._too_brief(response, now)
        if response.status >= 300:
            return self._fail(now, f"{response.status} {response.reason}"[:100], _seconds(response.headers.get("Retry-After")))
        if self._ending:
            return []
        granted_s = self._granted(response)
        if granted_s <= 0:
            return self._fail(now, "the registrar has taken it for a farewell")
        left_s = min(max(MARGIN * granted_s, LEAST_MARGIN_S), granted_s / 2)
        self.state, self.problem, self._failures = "registered", "", 0
        self._next_at = now + max(granted_s - left_s, min(LEAST_S, granted_s))
        return []

    def _challenged(self, response: Response, now: float) -> list[bytes]:
        proxy = response.status == 407
        challenge = digest.strongest(response.headers.lines("Proxy-Authenticate" if proxy else "WWW-Authenticate"))
        if challenge is None:
            return self._fail(now, "the registrar asks for a proof that Parley cannot give")
        # A proof with the nonce of just now was not believed: the password is wrong. One of before may be too old.
        if (self._proved and not challenge.stale) or self._tries >= MAX_TRIES - 1:
            self._challenge = None
            return self._fail(now, "the registrar refuses user or password", LONGEST_WAIT_S / 10)
        self._challenge, self._proxy, self._count, self._proved = challenge, proxy, 0, True
        self._tries += 1
        return [self._request(now)]

    def _too_brief(self, response: Response, now: float) -> list[bytes]:
        least_s = _seconds(response.headers.get("Min-Expires"))
        self._tries += 1
        if least_s is None or not self._expires_s < least_s <= MOST_EXPIRES_S or self._tries >= MAX_TRIES:
            return self._fail(now, f"423 {response.reason}"[:100])
        self._expires_s = round(least_s)
        return [self._request(now)]

    def _fail(self, now: float, problem: str, wait_s: float | None = None) -> list[bytes]:
        self._pending, self.state, self.problem = None, "waiting", problem
        usual_s = min(FIRST_WAIT_S * 2**self._failures, LONGEST_WAIT_S)
        self._failures = min(self._failures + 1, 20)
        self._next_at = None if self._ending else now + min(max(usual_s, wait_s or 0.0), LONGEST_WAIT_S)
        return []

    def _granted(self, response: Response) -> float:
        """For how long it is known: what this side's own Contact says, or the whole answer, or else what was asked for."""
        for value in response.headers.each("Contact"):
            try:
                contact = parse_address(value)
                uri = parse_uri(contact.uri)
            except BadMessage:
                continue
            if (uri.user, uri.host, uri.port or 5_060) == (self._account.user, *self._local):
                expires_s = _seconds(contact.parameters.get("expires", ""))
                if expires_s is not None:
                    return min(expires_s, MOST_EXPIRES_S)
        expires_s = _seconds(response.headers.get("Expires"))
        return min(expires_s, MOST_EXPIRES_S) if expires_s is not None else self._expires_s

    def _request(self, now: float) -> bytes:
        account = self._account
        host, port = _bracketed(self._local[0]), self._local[1]
        uri = f"sip:{_bracketed(account.domain)}"
        self._cseq += 1
        self._branch = f"z9hG4bK{self._token()}"
        headers = Headers([("Via", f"SIP/2.0/UDP {host}:{port};branch={self._branch};rport"), ("Max-Forwards", "70")])
        headers.add("From", f"<{account.address}>;tag={self._tag}")
        headers.add("To", f"<{account.address}>")
        headers.add("Call-ID", self._call_id)
        headers.add("CSeq", f"{self._cseq} REGISTER")
        headers.add("Contact", f"<sip:{account.user}@{host}:{port}>")
        headers.add("Expires", "0" if self._ending else str(self._expires_s))
        headers.add("Allow", ALLOW)
        headers.add("User-Agent", PRODUCT)
        if self._challenge is not None:
            self._count += 1
            proof = digest.answer(
                self._challenge,
                user=account.auth_user,
                password=account.password,
                method="REGISTER",
                uri=uri,
                count=self._count,
                client_nonce=self._token(),
            )
            headers.add("Proxy-Authorization" if self._proxy else "Authorization", proof)
        data = encode(Request("REGISTER", uri, headers))
        self.state = "off" if self._ending else "trying"
        self._next_at, self._pending = None, Resending(data, ("", 0), now)
        return data


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _seconds(text: str) -> float | None:
    """A header's number of seconds; ``None`` for what is none."""
    first = text.strip().partition(" ")[0].partition(";")[0].partition("(")[0]
    return float(first) if first.isascii() and first.isdigit() and len(first) <= 10 else None
