"""The settings of telephone carriers, one section each, and of calls that this server places."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator

from pipeline.settings.section import Section

E164 = r"^\+[1-9][0-9]{6,14}$"
Prefix = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{0,14}$")]
ApiUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[\w./-]*)?$")]
CarrierName = Literal["twilio", "telnyx", "plivo", "vonage", "exotel"]


class TelnyxSettings(Section):
    """Telnyx, through TeXML and media streaming. Off without public_key."""

    public_key: str | None = Field(None, description="The account's public key in base64, by which its requests are checked.")
    api_key: SecretStr | None = Field(None, min_length=1, description="An API key, to place calls and send texts.")
    account_sid: str | None = Field(None, pattern=r"^[\w-]{1,64}$", description="The account's id, to place calls.")
    application_sid: str | None = Field(None, pattern=r"^[\w-]{1,64}$", description="The TeXML application that places calls.")
    api_url: ApiUrl = Field("https://api.telnyx.com", description="Where its REST API is.")

    @field_validator("public_key")
    @classmethod
    def _is_a_key(cls, value: str | None) -> str | None:
        try:
            if value is not None and len(base64.b64decode(value, validate=True)) != 32:
                raise ValueError
        except (binascii.Error, ValueError):
            raise ValueError("must be 32 bytes in base64") from None
        return value

    @property
    def secrets(self) -> list[SecretStr]:
        """What is nobody's business, where it is set."""
        return [self.api_key] if self.api_key is not None else []

    @property
    def missing(self) -> list[str]:
        """What is not set that placing calls needs."""
        return [k for k in ("public_key", "api_key", "account_sid", "application_sid") if getattr(self, k) is None]


class PlivoSettings(Section):
    """Plivo, through audio streaming. Off without auth_token."""

    auth_token: SecretStr | None = Field(None, min_length=1, description="The account's auth token, which signs its requests.")
    auth_id: str | None = Field(None, pattern=r"^[A-Z0-9]{1,40}$", description="The account's auth id, to place calls.")
    api_url: ApiUrl = Field("https://api.plivo.com", description="Where its REST API is.")

    @property
    def secrets(self) -> list[SecretStr]:
        """What makes the carrier known, where it is set."""
        return [self.auth_token] if self.auth_token is not None else []

    @property
    def missing(self) -> list[str]:
        """What is not set that placing calls needs."""
        return [k for k in ("auth_token", "auth_id") if getattr(self, k) is None]


class VonageSettings(Section):
    """Vonage, through the Voice API's WebSockets. Off without signature_secret."""

    signature_secret: SecretStr | None = Field(None, min_length=1, description="The secret by which its requests are checked.")
    application_id: str | None = Field(
        None, pattern=r"^[0-9a-f-]{36}$", description="The only application whose calls are taken; places calls, too."
    )
    private_key: SecretStr | None = Field(
        None, min_length=1, description="The application's private key (PEM), to place calls and send texts."
    )
    rate_hz: Literal[8000, 16000] = Field(16000, description="The sample rate of its streams.")
    api_url: ApiUrl = Field("https://api.nexmo.com", description="Where its REST API is.")

    @property
    def secrets(self) -> list[SecretStr]:
        """What makes the carrier known, where it is set."""
        return [s for s in (self.signature_secret, self.private_key) if s is not None]

    @property
    def missing(self) -> list[str]:
        """What is not set that placing calls needs."""
        return [k for k in ("signature_secret", "application_id", "private_key") if getattr(self, k) is None]


class ExotelSettings(Section):
    """Exotel, through its Voicebot applet. Off without stream_key and stream_token."""

    stream_key: SecretStr | None = Field(
        None, min_length=8, description="The user name in the address that Exotel is given ..."
    )
    stream_token: SecretStr | None = Field(None, min_length=8, description="... and the password there. Make both up.")
    networks: list[str] = Field(
        default_factory=list, description="Networks that its requests come from, such as 203.0.113.0/24; none: any."
    )
    rate_hz: Literal[8000, 16000] = Field(16000, description="The sample rate of its streams.")
    api_key: SecretStr | None = Field(None, min_length=1, description="An API key, to place calls ...")
    api_token: SecretStr | None = Field(None, min_length=1, description="... and its token.")
    account_sid: str | None = Field(None, pattern=r"^\w{1,64}$", description="The account's id, to place calls.")
    app_id: str | None = Field(None, pattern=r"^[0-9]{1,20}$", description="The flow with the Voicebot applet, to place calls.")
    api_url: ApiUrl = Field("https://api.exotel.com", description="Where its REST API is.")

    @field_validator("networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        for network in value:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise ValueError(f"{network!r} is no network such as 203.0.113.0/24") from None
        return value

    @property
    def secrets(self) -> list[SecretStr]:
        """What makes the carrier known, where it is set."""
        return [s for s in (self.stream_key, self.stream_token, self.api_key, self.api_token) if s is not None]

    @property
    def missing(self) -> list[str]:
        """What is not set that placing calls needs."""
        needed = ("stream_key", "stream_token", "api_key", "api_token", "account_sid", "app_id")
        return [k for k in needed if getattr(self, k) is None]


class OutboundSettings(Section):
    """Calls that this server places (POST /api/phone/calls). Off without carrier."""

    carrier: CarrierName | None = Field(None, description="The carrier that places calls; its keys must be set.")
    from_number: str | None = Field(None, pattern=E164, description="The number that learners see, such as +15550100.")
    prefixes: list[Prefix] = Field(
        default_factory=list, description="The only numbers that are called: those that begin so, such as +4930."
    )
    ring_s: int = Field(30, ge=5, le=60, description="How long the learner's telephone rings.")
    per_minute: int = Field(6, ge=1, le=600, description="Calls that are placed in a minute, by everybody together.")
    hang_up_on_machines: bool = Field(True, description="Have the carrier tell answering machines, and talk to none.")


class SmsSettings(Section):
    """A text message with the link to the report when a call has ended, through the carrier of the call."""

    enabled: bool = Field(False, description="Send it. Callers are not asked first.")
    from_number: str | None = Field(None, pattern=E164, description="The number that sends it.")
    prefixes: list[Prefix] = Field(
        default_factory=list, description="The only numbers that get one: those that begin so, such as +4930."
    )
    text: str = Field(
        "Your report of today's English lesson: {link}", max_length=300, description="What it says; {link} is the address."
    )
    link_ttl_h: float = Field(72.0, gt=0, le=24 * 90, description="How long the link is good for, in hours.")

    @field_validator("text")
    @classmethod
    def _has_a_link(cls, value: str) -> str:
        if value.count("{link}") != 1:
            raise ValueError("must say {link} once")
        return value
