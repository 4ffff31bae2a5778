"""What keeps requests and answers together over a network that loses them: RFC 3261, section 17, over UDP. Pure: the time is
passed in, in monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from web.doors.phone.sip.answering import Address, tag_of
from web.doors.phone.sip.message import Request, parse_via

T1_S, T2_S, T4_S = 0.5, 4.0, 5.0
"""Round trip, the longest time between two sendings, and how long a packet may wander about (section 17, table 4)."""
LIFETIME_S = 64 * T1_S
"""How long anything is sent again, and remembered."""
MAX_TRANSACTIONS = 4_096
_COOKIE = "z9hG4bK"

Key = tuple[str, ...]


class Resending:
    """When to send something again: after T1, then twice that, up to T2, until ``LIFETIME_S`` is over.

    Requests other than INVITE (timer E), answers to an INVITE (timer G; section 13.3.1.4 for those that take the call).
    """

    def __init__(self, data: bytes, to: Address, now: float) -> None:
        self.data = data
        self.to = to
        self.ends_at = now + LIFETIME_S
        self._interval_s = T1_S
        self._next_at = now + T1_S

    def is_over(self, now: float) -> bool:
        """Whether nobody has answered in all this time."""
        return now >= self.ends_at

    def is_due(self, now: float) -> bool:
        """Whether it is to be sent now; then it counts as sent."""
        if now < self._next_at or self.is_over(now):
            return False
        self._interval_s = min(2 * self._interval_s, T2_S)
        self._next_at = now + self._interval_s
        return True


@dataclass(slots=True)
class Transaction:
    """One request that came, and what was answered last."""

    expires_at: float
    source: Address
    answer: bytes | None = None
    to: Address = ("", 0)
    resending: Resending | None = None
    """A refused INVITE's answer, until the ACK comes."""


def key_of(request: Request) -> Key:
    """The name of a request's transaction (section 17.2.3). An ACK has that of its INVITE; a CANCEL has one of its own."""
    via = parse_via(request.headers.each("Via")[0])
    method = "INVITE" if request.method == "ACK" else request.method
    if via.branch.startswith(_COOKIE):
        return (via.branch, f"{via.host}:{via.port}", method)
    headers = request.headers
    return (headers.get("Call-ID"), tag_of(headers.get("From")), str(request.cseq[0]), headers.each("Via")[0], method)


class Transactions:
    """All requests of the last half minute. Of more than ``limit``, the oldest are forgotten."""

    def __init__(self, limit: int = MAX_TRANSACTIONS) -> None:
        self._limit = limit
        self._known: OrderedDict[Key, Transaction] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: Key) -> Transaction | None:
        """What is known of a request."""
        return self._known.get(key)

    def begin(self, key: Key, source: Address, now: float) -> Transaction:
        """A request came for the first time."""
        transaction = self._known[key] = Transaction(now + LIFETIME_S, source)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
        return transaction

    def answered(self, transaction: Transaction, data: bytes, to: Address, now: float, *, until_ack: bool = False) -> None:
        """``data`` was sent to ``to``. ``until_ack``: it refuses an INVITE."""
        transaction.answer, transaction.to = data, to
        transaction.expires_at = now + LIFETIME_S
        transaction.resending = Resending(data, to, now) if until_ack else None

    def due(self, now: float) -> list[tuple[bytes, Address]]:
        """What is to be sent again at ``now``. What is too old is forgotten."""
        sent = []
        for key, transaction in list(self._known.items()):
            if now >= transaction.expires_at:
                del self._known[key]
            elif transaction.resending is not None and transaction.resending.is_due(now):
                sent.append((transaction.resending.data, transaction.resending.to))
        return sent
