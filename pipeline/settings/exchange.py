"""The settings of calls from one's own telephone exchange, without a carrier."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field, field_validator

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
        for peer in value:
            try:
                ip_network(peer)
            except ValueError as e:
                raise ValueError(f"{peer!r} is neither an address nor a network such as 192.0.2.0/24: {e}") from None
        return value
