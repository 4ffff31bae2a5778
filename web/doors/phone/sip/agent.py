"""The user agent: all calls of one port, over UDP. Pure: messages, times and random names in; datagrams and events out.

Only what comes from trusted peers is given to it; strangers are turned away before (``web.doors.phone.sip.server``).
"""

from __future__ import annotations

from collections.abc import Callable

from web.doors.phone.sip.answering import ALLOW, Address, check, respond, tag_of, target
from web.doors.phone.sip.dialog import CONTACT_USER, GIVEN_UP, Dialog, Ended, Offered, Output, Refusal, Send
from web.doors.phone.sip.message import BadMessage, Message, Request, Response, encode, parse_address, parse_uri
from web.doors.phone.sip.transactions import Key, Transaction, Transactions, key_of

IN_DIALOG = frozenset({"BYE", "INVITE", "INFO", "OPTIONS"})
UNKNOWN_CALL = 481
MAX_DIALOGS = 2_000
"""Calls, ringing and ending ones among them; a further one gets 503."""


class UserAgent:
    """Takes calls.

    Args:
        token: Makes names that nobody can guess: letters and digits, 64 bits at least.
        account: The account's user, where there is one: its calls are addressed to it whatever number was dialled.
    """

    def __init__(self, token: Callable[[], str], *, account: str | None = None) -> None:
        self._token = token
        self._own = {"", CONTACT_USER, account or ""}
        self._transactions = Transactions()
        self._dialogs: dict[str, Dialog] = {}  # by this side's tag
        self._invites: dict[str, tuple[Request, Address, Key]] = {}  # those without an answer yet
        self.closed = False
        """Whether calls are refused with 503."""

    @property
    def dialogs(self) -> int:
        """How many calls there are, ending ones among them."""
        return len(self._dialogs)

    @property
    def transactions(self) -> int:
        """How many requests are remembered."""
        return len(self._transactions)

    def tick(self, now: float) -> list[Output]:
        """Send again what was not answered, and forget what is over. To be called some ten times a second."""
        outputs: list[Output] = [Send(data, to) for data, to in self._transactions.due(now)]
        for dialog in list(self._dialogs.values()):
            outputs += dialog.tick(now)
        self._forget()
        return outputs

    # What this side does

    def local_of(self, key: str) -> str:
        """This side's host, as the caller of a call knows it; empty where the call is over."""
        dialog = self._dialogs.get(key)
        return dialog.local[0] if dialog is not None else ""

    def accept(self, key: str, rtp: Address, now: float) -> list[Output]:
        """Take a call. ``rtp`` is where this side receives its sound. Nothing happens where the caller gave up."""
        if key not in self._invites:
            return []
        request, source, name = self._invites.pop(key)
        data = self._dialogs[key].accept(request, source, rtp, now)
        return self._sent(name, data, target(request, source), now)

    def refuse(self, key: str, status: int, now: float, *, retry_after_s: float | None = None) -> list[Output]:
        """Do not take a call."""
        if key not in self._invites:
            return []
        request, source, name = self._invites.pop(key)
        self._dialogs[key].refused()
        extra = [("Retry-After", str(max(1, round(retry_after_s))))] if retry_after_s is not None else []
        data = encode(respond(request, status, source, tag=key, extra=extra))
        self._forget()
        return self._sent(name, data, target(request, source), now, until_ack=True)

    def hang_up(self, key: str, now: float) -> list[Output]:
        """End a call that was taken; one that was not is refused."""
        dialog = self._dialogs.get(key)
        if key in self._invites:
            return self.refuse(key, 503, now)
        return dialog.hang_up(now) if dialog is not None else []

    # What comes

    def receive(self, message: Message, source: Address, local: Address, now: float) -> list[Output]:
        """A message of a peer.

        Args:
            message: The message.
            source: Where it came from.
            local: This side's address, as that peer is to know it.
            now: Monotonic seconds.

        Raises:
            BadMessage: it could not be understood, and not even be answered.
        """
        if isinstance(message, Response):
            self._responded(message)
            return []
        try:
            check(message)
            return self._requested(message, source, local, now)
        except BadMessage:
            if message.method == "ACK":
                raise
            # What has a Via and the rest can be told; otherwise ``respond`` raises, too.
            return [Send(encode(respond(message, 400, source, tag=self._token())), target(message, source))]

    def _responded(self, response: Response) -> None:
        method = response.cseq[1]
        dialog = self._dialogs.get(tag_of(response.headers.get("From")))
        if method == "BYE" and dialog is not None and dialog.call_id == response.headers.get("Call-ID"):
            dialog.responded(response)
            self._forget()

    def _requested(self, request: Request, source: Address, local: Address, now: float) -> list[Output]:
        key = key_of(request)
        known = self._transactions.get(key)
        if request.method == "ACK":
            if known is not None and known.resending is not None:
                known.resending = None
                return []
            dialog = self._dialog_of(request)
            return dialog.acknowledged(request, source, now) if dialog is not None else []
        if known is not None:
            return [Send(known.answer, known.to)] if known.answer is not None and known.source == source else []
        transaction = self._transactions.begin(key, source, now)
        try:
            data, outputs = self._answered(request, key, source, local, now)
        except Refusal as e:
            data = encode(respond(request, e.status, source, tag=self._token(), extra=e.extra))
            return self._answer(transaction, data, target(request, source), now, until_ack=request.method == "INVITE")
        outputs = [*self._answer(transaction, data, target(request, source), now), *outputs]
        self._forget()
        return outputs

    def _answered(self, request: Request, key: Key, source: Address, local: Address, now: float) -> tuple[bytes, list[Output]]:
        if request.method == "CANCEL":
            return self._cancelled(request, key, source, now)
        if request.method not in IN_DIALOG:
            raise Refusal(405 if request.method in _KNOWN else 501, ("Allow", ALLOW))
        if required := request.headers.each("Require"):
            raise Refusal(420, ("Unsupported", ", ".join(required)))
        if tag_of(request.headers.get("To")):
            dialog = self._dialog_of(request)
            if dialog is None:
                raise Refusal(UNKNOWN_CALL)
            return dialog.requested(request, source, now)
        if request.method == "INVITE":
            return self._invited(request, key, source, local)
        if request.method != "OPTIONS":
            raise Refusal(UNKNOWN_CALL)
        if self.closed:
            raise Refusal(503)
        extra = [("Allow", ALLOW), ("Accept", "application/sdp")]
        return encode(respond(request, 200, source, tag=self._token(), extra=extra)), []

    def _invited(self, request: Request, key: Key, source: Address, local: Address) -> tuple[bytes, list[Output]]:
        headers = request.headers
        address = parse_uri(request.uri)
        if address.scheme == "sips":
            raise Refusal(416)
        if self.closed or len(self._dialogs) >= MAX_DIALOGS:
            raise Refusal(503, ("Retry-After", "10"))
        call_id, remote_tag = headers.get("Call-ID"), tag_of(headers.get("From"))
        if any((d.call_id, d.remote_tag) == (call_id, remote_tag) for d in self._dialogs.values()):
            raise Refusal(482)
        tag = self._token()
        dialog = Dialog(request, source, local, tag, int.from_bytes(tag.encode()[:4]), self._token)
        self._dialogs[tag], self._invites[tag] = dialog, (request, source, key)
        dialled = address.user if address.user not in self._own else _user(headers.get("To"))
        # No tag in a 100: it makes no dialog.
        return encode(respond(request, 100, source)), [Offered(tag, _user(headers.get("From")), dialled)]

    def _cancelled(self, request: Request, key: Key, source: Address, now: float) -> tuple[bytes, list[Output]]:
        invite_key = (*key[:-1], "INVITE")
        if (invite := self._transactions.get(invite_key)) is None or invite.source != source:
            raise Refusal(UNKNOWN_CALL)
        reply = encode(respond(request, 200, source, tag=self._token()))
        tag = next((t for t, (_, _, name) in self._invites.items() if name == invite_key), None)
        if tag is None:
            return reply, []
        return reply, [*self.refuse(tag, 487, now), Ended(tag, GIVEN_UP)]

    def _dialog_of(self, request: Request) -> Dialog | None:
        dialog = self._dialogs.get(tag_of(request.headers.get("To")))
        if dialog is None or dialog.call_id != request.headers.get("Call-ID"):
            return None
        return dialog if dialog.remote_tag == tag_of(request.headers.get("From")) else None

    def _sent(self, key: Key, data: bytes, to: Address, now: float, *, until_ack: bool = False) -> list[Output]:
        transaction = self._transactions.get(key)
        if transaction is None:  # forgotten in a flood
            return [Send(data, to)]
        return self._answer(transaction, data, to, now, until_ack=until_ack)

    def _answer(
        self, transaction: Transaction, data: bytes, to: Address, now: float, *, until_ack: bool = False
    ) -> list[Output]:
        self._transactions.answered(transaction, data, to, now, until_ack=until_ack)
        return [Send(data, to)]

    def _forget(self) -> None:
        for key in [key for key, dialog in self._dialogs.items() if dialog.state == "over"]:
            del self._dialogs[key]
            self._invites.pop(key, None)


_KNOWN = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "REFER", "UPDATE", "PRACK", "PUBLISH"})


def _user(value: str) -> str:
    try:
        return parse_uri(parse_address(value).uri).user
    except BadMessage:
        return ""
