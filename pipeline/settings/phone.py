"""The settings of the phone's door: where carriers reach it, what a number is for, and each carrier's keys."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.record import Level
from pipeline.settings.carriers import (
    ApiUrl,
    ExotelSettings,
    OutboundSettings,
    PlivoSettings,
    SmsSettings,
    TelnyxSettings,
    VonageSettings,
)
from pipeline.settings.exchange import AudioSocketSettings, SipSettings
from pipeline.settings.section import Section

PUBLIC_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[\w./-]*)?")


class NumberSettings(Section):
    """What those who dial one number get."""

    lesson: str | None = Field(None, description="A lesson's id; none: phone.lesson.")
    level: Level | None = Field(None, description="The learner's level; none: phone.level.")


class TwilioSettings(Section):
    """Twilio, through Media Streams. Off without auth_token."""

    auth_token: SecretStr | None = Field(None, min_length=1, description="The account's auth token, which signs its requests.")
    account_sid: str | None = Field(None, pattern=r"^AC[0-9a-fA-F]{32}$", description="The only account whose calls are taken.")
    api_url: ApiUrl = Field("https://api.twilio.com", description="Where its REST API is.")

    @property
    def secrets(self) -> list[SecretStr]:
        """What makes the carrier known, where it is set."""
        return [self.auth_token] if self.auth_token is not None else []

    @property
    def missing(self) -> list[str]:
        """What is not set that placing calls needs."""
        return [k for k in ("auth_token", "account_sid") if getattr(self, k) is None]


class PhoneSettings(Section):
    """Calls from telephones."""

    public_url: str | None = Field(
        None,
        description="Where carriers reach this server, such as https://tutor.example.org. "
        "Its host opens the carriers' paths only.",
    )
    lesson: str | None = Field(None, description="The lesson of calls by phone; none: tutor.lesson.")
    level: Level | None = Field(None, description="The level of callers; none: tutor.level.")
    numbers: dict[str, NumberSettings] = Field(
        default_factory=dict, description="Lesson and level by the number that was dialled, such as +15550100."
    )
    record: bool = Field(False, description="Record calls by phone, too, where recording.enabled. Nobody tells the caller.")
    token_ttl_s: float = Field(60.0, gt=0, le=600, description="How long a carrier may take from its request to its stream.")
    return_within_s: float = Field(
        5.0, ge=0, le=8, description="How long a call whose stream broke off waits for the carrier to connect it again."
    )
    audiosocket: AudioSocketSettings = Field(default_factory=AudioSocketSettings)
    sip: SipSettings = Field(default_factory=SipSettings)
    twilio: TwilioSettings = Field(default_factory=TwilioSettings)
    telnyx: TelnyxSettings = Field(default_factory=TelnyxSettings)
    plivo: PlivoSettings = Field(default_factory=PlivoSettings)
    vonage: VonageSettings = Field(default_factory=VonageSettings)
    exotel: ExotelSettings = Field(default_factory=ExotelSettings)
    outbound: OutboundSettings = Field(default_factory=OutboundSettings)
    sms: SmsSettings = Field(default_factory=SmsSettings)

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not PUBLIC_URL.fullmatch(value):
            raise ValueError("must be http(s)://host[:port][/path]")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _carriers_need_an_address(self) -> PhoneSettings:
        carriers = (self.twilio, self.telnyx, self.plivo, self.vonage, self.exotel)
        if self.public_url is None and (self.telnyx.public_key or any(carrier.secrets for carrier in carriers)):
            raise ValueError("phone.public_url is needed by a carrier: it says where its requests go and what they sign")
        return self

    @model_validator(mode="after")
    def _can_place_calls(self) -> PhoneSettings:
        outbound = self.outbound
        if outbound.carrier is not None:
            missing = [f"phone.{outbound.carrier}.{key}" for key in getattr(self, outbound.carrier).missing]
            missing += [f"phone.outbound.{key}" for key in ("from_number", "prefixes") if not getattr(outbound, key)]
            if missing:
                raise ValueError(f"phone.outbound.carrier needs {', '.join(missing)}")
        if self.sms.enabled and not (self.sms.from_number and self.sms.prefixes):
            raise ValueError("phone.sms.enabled needs phone.sms.from_number and phone.sms.prefixes")
        return self
