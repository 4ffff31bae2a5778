"""The settings of calls from one's own telephone exchange, without a carrier."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from pydantic import Field, SecretStr, field_validator, model_validator

from pipeline.settings.section import Section


class AudioSocketSettings(Section):
    """Asterisk's AudioSocket, over TCP. Off without port."""

    port: int | None = Field(None, ge=0, le=65_535, description="Where Asterisk connects, such as 9092; 0 takes a free one.")
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; the protocol has neither a secret nor TLS.")
    peers: list[str] = Field(
        ["127.0.0.0/8", "::1/128"], description="Addresses and networks that may connect; all others are hung up on."
    )

    @field_validator("peers")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        return _networks(value)


class SipSettings(Section):
    """SIP over UDP, without a carrier's API. Off without port."""

    port: int | None = Field(None, ge=0, le=65_535, description="Where calls come in, such as 5060; 0 takes a free one.")
    host: str = Field("127.0.0.1", description="Address to listen on, for signalling and sound: 0.0.0.0 for all of IPv4.")
    peers: list[str] = Field(
        ["127.0.0.0/8", "::1/128"], description="Addresses and networks whose calls are taken, beside the registrar's."
    )
    public_address: str | None = Field(
        None, description="The address that peers are told, where a router translates it; none: the one that reaches them."
    )
    rtp_port_from: int = Field(16_384, ge=1_024, le=65_534, description="First port for sound; each call takes an even one.")
    rtp_port_to: int = Field(16_583, ge=1_024, le=65_535, description="Last port for sound.")
    media_timeout_s: float = Field(20.0, ge=1, le=600, description="A call in which no sound came for so long has ended.")
    registrar: str | None = Field(
        None,
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$",
        description="Where to register: host[:port]; none: peers call by the address alone.",
    )
    domain: str | None = Field(
        None, pattern=r"^[A-Za-z0-9.-]+$", description="The domain of the account, where it is not the registrar's host."
    )
    user: str | None = Field(None, pattern=r"^[A-Za-z0-9_.!~*'()&=+$,-]{1,64}$", description="The account: number or name.")
    auth_user: str | None = Field(None, min_length=1, max_length=128, description="The name to log in with; none: user.")
    password: SecretStr | None = Field(None, min_length=1, description="The account's password.")
    expires_s: int = Field(300, ge=60, le=3_600, description="How long a registration is to hold; it is renewed before.")

    @field_validator("peers")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        return _networks(value)

    @field_validator("host", "public_address")
    @classmethod
    def _is_an_address(cls, value: str | None) -> str | None:
        try:
            return str(ip_address(value)) if value is not None else None
        except ValueError:
            raise ValueError(f"{value!r} is no IP address") from None

    @model_validator(mode="after")
    def _fits_together(self) -> SipSettings:
        if self.rtp_port_to <= self.rtp_port_from:
            raise ValueError("phone.sip.rtp_port_to must be greater than phone.sip.rtp_port_from")
        if self.public_address is not None and ip_address(self.public_address).is_unspecified:
            raise ValueError("phone.sip.public_address must be an address that peers can send to")
        if self.registrar is None:
            return self
        if self.port is None or self.user is None:
            raise ValueError("phone.sip.registrar needs phone.sip.port and phone.sip.user")
        if ip_address(self.host).is_loopback and not _is_local(self.registrar):
            raise ValueError("phone.sip.host is loopback, from where phone.sip.registrar cannot be reached: set 0.0.0.0, say")
        return self


def _networks(value: list[str]) -> list[str]:
    for peer in value:
        try:
            ip_network(peer)
        except ValueError as e:
            raise ValueError(f"{peer!r} is neither an address nor a network such as 192.0.2.0/24: {e}") from None
    return value


def _is_local(registrar: str) -> bool:
    host = registrar.rpartition("]")[0][1:] if registrar.startswith("[") else registrar.partition(":")[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
