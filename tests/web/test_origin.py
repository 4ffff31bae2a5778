"""Host and Origin, judged without I/O."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.origin import HostPort, Origin, host_policy, origin_allowed, parse_allowed_origins, parse_host, parse_origin

labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
ports = st.integers(1, 65535)
LOOPBACK = host_policy("127.0.0.1", {"box", "box.local"}, ["tutor.example.org"])
EVERYWHERE = host_policy("0.0.0.0", {"box"}, ["tutor.example.org"])


@pytest.mark.parametrize(
    ("header", "parsed"),
    [
        ("localhost", HostPort("localhost", None)),
        ("LOCALHOST:7860", HostPort("localhost", 7860)),
        ("localhost.:7860", HostPort("localhost", 7860)),
        ("[::1]:7860", HostPort("::1", 7860)),
        ("[0:0:0:0:0:0:0:1]", HostPort("::1", None)),
        ("127.0.0.1:1", HostPort("127.0.0.1", 1)),
        ("my_box:80", HostPort("my_box", 80)),
    ],
)
def test_a_host_header_is_read(header: str, parsed: HostPort) -> None:
    assert parse_host(header) == parsed


@pytest.mark.parametrize(
    "header",
    [
        "",
        ":80",
        "a:b",
        "a:0",
        "a:65536",
        "a:80:80",
        "a:",
        "a:٣",
        "a b",
        "a/b",
        "user@a",
        "::1",
        "[::1",
        "[::1]80",
        "[127.0.0.1]",
        "[evil.com]",
        "-a",
        "a..b",
        "a\r\nX: y",
        "localhost, evil.com",
        "evil.com#localhost",
        "é",
    ],
)
def test_a_malformed_host_is_no_host(header: str) -> None:
    assert parse_host(header) is None
    assert not EVERYWHERE.allows(header)


@given(st.text(max_size=60))
def test_no_host_header_breaks_the_reader(header: str) -> None:
    parsed = parse_host(header)
    if parsed is not None:
        assert parsed.port is None or 0 < parsed.port < 65536
        shown = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
        assert parse_host(shown) == HostPort(parsed.host, None)


@pytest.mark.parametrize("policy", [LOOPBACK, EVERYWHERE])
@pytest.mark.parametrize(
    "header",
    ["localhost", "localhost:7860", "127.0.0.1:7860", "127.8.9.1", "[::1]:7860", "box", "BOX:80", "tutor.example.org:443"],
)
def test_this_server_is_known_by_its_names(policy, header: str) -> None:  # type: ignore[no-untyped-def]
    assert policy.allows(header)


@given(name=names, port=ports)
def test_a_name_that_was_not_listed_is_refused_whatever_it_resolves_to(name: str, port: int) -> None:
    own = {"localhost", "box", "box.local", "tutor.example.org"}
    try:
        ipaddress.ip_address(name)
    except ValueError:
        expected = name in own or name.endswith(".localhost")
        assert LOOPBACK.allows(f"{name}:{port}") is expected


@pytest.mark.parametrize(
    "header",
    [
        "evil.com",
        "localhost.evil.com",
        "evil.com:7860",
        "127.0.0.1.nip.io",
        "tutor.example.org.evil.com",
        "2130706433",
        "0x7f.1",
    ],
)
def test_look_alikes_are_refused(header: str) -> None:
    assert not LOOPBACK.allows(header)
    assert not EVERYWHERE.allows(header)


@given(address=st.ip_addresses())
def test_address_literals(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """A wildcard bind is reached by any address; a bind to one address by that one and by loopback."""
    literal = f"[{address}]" if address.version == 6 else str(address)
    if "%" in literal:
        return
    assert EVERYWHERE.allows(f"{literal}:7860")
    assert host_policy(str(address)).allows(literal)
    mapped = getattr(address, "ipv4_mapped", None)
    assert LOOPBACK.allows(literal) is (mapped or address).is_loopback


def test_a_missing_host_is_refused() -> None:
    assert not EVERYWHERE.allows(None)


@given(name=names, port=ports, scheme=st.sampled_from(["http", "https"]))
def test_the_own_page_may_call(name: str, port: int, scheme: str) -> None:
    for request_scheme in (scheme, scheme.replace("http", "ws")):
        assert origin_allowed(f"{scheme}://{name}:{port}", scheme=request_scheme, host=f"{name}:{port}")


@given(a=names, b=names, port_a=ports, port_b=ports)
def test_another_page_may_not(a: str, b: str, port_a: int, port_b: int) -> None:
    same = (parse_host(a), port_a) == (parse_host(b), port_b)
    assert origin_allowed(f"http://{a}:{port_a}", scheme="ws", host=f"{b}:{port_b}") is same


@pytest.mark.parametrize(
    ("origin", "scheme", "host", "allowed"),
    [
        (None, "http", "localhost:7860", True),
        ("http://localhost", "http", "localhost:80", True),
        ("https://localhost:443", "wss", "localhost", True),
        ("http://LOCALHOST:7860", "ws", "localhost:7860", True),
        ("http://[::1]:7860", "ws", "[0::1]:7860", True),
        ("https://localhost:7860", "http", "localhost:7860", False),
        ("http://localhost:7860", "https", "localhost:7860", False),
        ("http://localhost:7861", "http", "localhost:7860", False),
        ("http://127.0.0.1:7860", "http", "localhost:7860", False),
        ("null", "http", "localhost:7860", False),
        ("", "http", "localhost:7860", False),
        ("file://", "http", "localhost:7860", False),
        ("http://localhost:7860/path", "http", "localhost:7860", False),
        ("http://user@localhost:7860", "http", "localhost:7860", False),
        ("http://localhost:7860@evil.com", "http", "localhost:7860", False),
        ("http://evil.com", "http", "localhost:7860", False),
        ("https://app.example.org", "http", "localhost:7860", True),
        ("https://app.example.org:444", "http", "localhost:7860", False),
        ("http://[", "http", "localhost:7860", False),
    ],
)
def test_origins(origin: str | None, scheme: str, host: str, allowed: bool) -> None:
    listed = parse_allowed_origins(["https://app.example.org/"])
    assert origin_allowed(origin, scheme=scheme, host=host, allowed=listed) is allowed


@given(st.text(max_size=60))
def test_no_origin_header_breaks_the_reader(header: str) -> None:
    origin = parse_origin(header)
    assert origin is None or origin.scheme in ("http", "https")


@pytest.mark.parametrize("bad", ["*", "example.org", "ftp://example.org", "https://example.org/app", "null"])
def test_a_setting_that_is_no_origin_is_named(bad: str) -> None:
    with pytest.raises(ValueError, match="allowed_origins"):
        parse_allowed_origins(["https://ok.example.org", bad])


def test_allowed_origins_are_read() -> None:
    assert parse_allowed_origins(["http://a:81", "https://b"]) == {Origin("http", "a", 81), Origin("https", "b", 443)}
