"""The settings of the phone's door: where carriers reach it, what a number is for, and each carrier's keys."""

from __future__ import annotations

import re

from pydantic import Field, SecretStr, field_validator, model_validator

from agent.record import Level
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

    @property
    def secrets(self) -> list[SecretStr]:
        """What makes the carrier known, where it is set."""
        return [self.auth_token] if self.auth_token is not None else []


class PhoneSettings(Section):
    """Calls from telephones."""

    public_url: str | None = Field(
        None, description="Where carriers reach this server, such as https://tutor.example.org; its host is then allowed."
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
    twilio: TwilioSettings = Field(default_factory=TwilioSettings)

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        if value is not None and not PUBLIC_URL.fullmatch(value):
            raise ValueError("must be http(s)://host[:port][/path]")
        return value.rstrip("/") if value else value

    @model_validator(mode="after")
    def _carriers_need_an_address(self) -> PhoneSettings:
        if self.public_url is None and self.twilio.secrets:
            raise ValueError("phone.public_url is needed by a carrier: it says where its requests go and what they sign")
        return self
