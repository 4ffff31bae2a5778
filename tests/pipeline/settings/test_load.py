"""Settings: what overrides what, and one clear line for everything that can be wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.engines import engine_names
from pipeline.settings.load import DEFAULT_CONFIG, SettingsError, load_settings, masked, prepare_data_dir
from pipeline.settings.tree import Settings

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """``load(yaml_text, env, overrides)``."""

    def load_text(
        text: str = "", env: dict[str, str] | None = None, overrides: dict[str, Any] | None = None, dotenv: str | None = None
    ) -> Settings:
        config = tmp_path / "my.yaml"
        config.write_text(text, encoding="utf-8")
        variables = tmp_path / ".env"
        if dotenv is not None:
            variables.write_text(dotenv, encoding="utf-8")
        return load_settings(config, env or {}, overrides, variables)

    return load_text


def test_shipped_file_equals_the_defaults() -> None:
    assert load_settings(DEFAULT_CONFIG, {}, dotenv=None) == Settings()


def test_later_places_win(load: Load) -> None:
    text = "server: {port: 1001, host: 127.0.0.2, https: true}\nlimits: {max_calls: 2}\n"
    dotenv = "PARLEY_SERVER__PORT=1002\nPARLEY_LIMITS__MAX_CALLS=3\nOTHER=x\n"
    env = {"PARLEY_SERVER__PORT": "1003"}
    assert load(text).server.port == 1001
    assert load(text, dotenv=dotenv).server.port == 1002
    assert load(text, env, dotenv=dotenv).server.port == 1003
    settings = load(text, env, {"server": {"port": "1004"}}, dotenv)
    assert settings.server.port == 1004
    assert settings.server.host == "127.0.0.2"
    assert settings.server.https is True
    assert settings.limits.max_calls == 3


def test_environment_reaches_every_depth_and_kind(load: Load) -> None:
    settings = load(
        "",
        {
            "PARLEY_DATA_DIR": "/somewhere",
            "PARLEY_STT__POCKETSPHINX__WORKERS": "3",
            "PARLEY_SERVER__ALLOWED_HOSTS": '["a.example", "b.example"]',
            "PARLEY_WEBRTC__ICE_SERVERS": '[{"urls": ["stun:x"], "credential": "s"}]',
            "PARLEY_AUTH__TOKEN": "12345",
            "PARLEY_SERVER__HTTPS": "true",
            "PARLEY_LOG__LEVEL": "",
            "PARLEY_SPEECH_DIR": "no setting",
        },
    )
    assert settings.data_dir == Path("/somewhere")
    assert settings.stt.pocketsphinx.workers == 3
    assert settings.server.allowed_hosts == ["a.example", "b.example"]
    assert settings.webrtc.ice_servers[0].urls == ["stun:x"]
    assert settings.auth.token is not None
    assert settings.auth.token.get_secret_value() == "12345"
    assert settings.server.https is True
    assert settings.log.level == "INFO"


def test_a_section_with_all_keys_commented_out_means_defaults(load: Load) -> None:
    assert load("server:\n  # port: 1\nstt:\n  pocketsphinx:\n") == Settings()


WRONG_FILES = {
    "unknown key": ("server:\n  prot: 1", "my.yaml:2: server.prot: unknown key; did you mean 'port'?"),
    "unknown section": ("sever: {}", "my.yaml:1: sever: unknown key; did you mean 'server'?"),
    "key of a section": ("port: 1", "my.yaml:1: port: unknown key; did you mean 'server.port'?"),
    "unlike any key": ("log:\n  zzz: 1", "my.yaml:2: log.zzz: unknown key; allowed here: level, format"),
    "wrong type": ("server:\n  port: many", "my.yaml:2: server.port: must be a whole number from 0 to 65535, not 'many'"),
    "a switch for a number": ("limits: {max_calls: yes}", "limits.max_calls: must be a whole number at least 1, not true"),
    "bad port": ("server:\n  port: 70000", "my.yaml:2: server.port: must be a whole number from 0 to 65535, not 70000"),
    "not one of": ("log: {level: LOUD}", "log.level: must be one of: TRACE, DEBUG, INFO, WARNING, ERROR, not 'LOUD'"),
    "unknown engine": (
        "stt: {engine: ears}",
        f"my.yaml:1: stt.engine: must be one of: {', '.join(engine_names('stt'))}, not 'ears'",
    ),
    "value for a section": ("server: 5", "my.yaml:1: server: must be a section with host, port"),
    "text for a list": ("server: {allowed_hosts: a}", "server.allowed_hosts: must be a list of text, not 'a'"),
    "key in a list": ("webrtc:\n  ice_servers:\n  - {urls: [], user: x}", "my.yaml:3: webrtc.ice_servers[0].user: unknown key"),
    "missing in a list": ("webrtc:\n  ice_servers:\n  - {username: x}", "webrtc.ice_servers[0]: the key 'urls' is missing"),
    "not a number": ("vad: {confidence: .nan}", "vad.confidence: must be a number above 0 and below 1"),
    "broken": ("server:\n  port: [1\nlog: x", "my.yaml:3:4: not valid YAML:"),
    "control character": ("a: \x01", "my.yaml: not valid YAML:"),
    "nested without end": ("[" * 5000, "my.yaml: not valid YAML: nested too deeply"),
    "impossible date": ("a: 2024-99-99", "my.yaml: not valid YAML:"),
    "no mapping": ("- server", "my.yaml:1: must hold 'key: value' sections"),
    "only text": ("server", "my.yaml:1: must hold 'key: value' sections"),
    "key twice": ("server: {}\nlog: {}\nserver: {}", "my.yaml:3: server: written twice"),
    "key that is no text": ("1: 2", "my.yaml:1: a key must be plain text"),
    "unknown lesson": ("tutor: {lesson: nope}", "my.yaml:1: tutor.lesson: must be one of:"),
}


@pytest.mark.parametrize(("text", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_file(load: Load, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


WRONG_VARIABLES = {
    "one underscore": ("PARLEY_SERVER_PORT", "1", "did you mean PARLEY_SERVER__PORT?"),
    "no section": ("PARLEY_PORT", "1", "did you mean PARLEY_SERVER__PORT?"),
    "misspelt": ("PARLEY_SEVER__PORT", "1", "did you mean PARLEY_SERVER__PORT?"),
    "too deep": ("PARLEY_SERVER__PORT__X", "1", "unknown setting"),
    "unlike anything": ("PARLEY_ZZZ", "1", "docs/configuration.md"),
    "wrong type": ("PARLEY_SERVER__PORT", "x", "must be a whole number from 0 to 65535, not 'x'"),
    "no JSON": ("PARLEY_SERVER__ALLOWED_HOSTS", "a,b", "must be a list of text, as JSON, not 'a,b'"),
    "no JSON section": ("PARLEY_SERVER", "x", "must be a section with host"),
}


@pytest.mark.parametrize(("name", "value", "message"), WRONG_VARIABLES.values(), ids=WRONG_VARIABLES)
def test_wrong_variable(load: Load, name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load("", {name: value})
    assert str(caught.value).startswith(f"{name}: ")
    assert message in str(caught.value)
    with pytest.raises(SettingsError, match=rf"\.env: {name}: "):
        load("", dotenv=f"{name}={value}\n")


def test_the_place_named_is_the_one_that_counts(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"^PARLEY_SERVER__PORT: "):
        load("server: {port: 1}", {"PARLEY_SERVER__PORT": "x"})
    with pytest.raises(SettingsError, match=r"^--port: must be a whole number from 0 to 65535, not '99999'"):
        load("server: {port: x}", {"PARLEY_SERVER__PORT": "y"}, {"server": {"port": "99999"}})


def test_several_mistakes_are_counted(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"\(and 1 more; check lists them\)$"):
        load("server: {port: x}\nlog: {level: x}")


def test_secrets_are_not_told(load: Load) -> None:
    with pytest.raises(SettingsError) as caught:
        load("auth: {token: [hunter2]}")
    assert "hunter2" not in str(caught.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: no such configuration file"):
        load_settings(tmp_path / "none.yaml", {})
    with pytest.raises(SettingsError, match="cannot be read: is a directory"):
        load_settings(tmp_path, {})
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(SettingsError, match=r"binary\.yaml: cannot be read: not UTF-8 text"):
        load_settings(binary, {})


@given(st.text(max_size=60))
def test_any_text_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    config = tmp_path_factory.getbasetemp() / "any.yaml"
    config.write_text(text, encoding="utf-8", errors="replace")
    message = "any.yaml"
    try:
        load_settings(config, {}, dotenv=None)
    except SettingsError as e:
        message = str(e)
    assert "any.yaml" in message
    assert len(message.splitlines()) == 1


def test_masked_shows_no_secret() -> None:
    settings = Settings.model_validate(
        {
            "auth": {"token": "hunter2"},
            "webrtc": {"ice_servers": [{"urls": ["turn:x"], "credential": "hunter2"}], "turn": {"secret": "hunter2"}},
            "llm": {"options": {"api_key": "hunter2", "base_url": "http://there"}},
        }
    )
    shown = masked(settings)
    assert "hunter2" not in repr(shown)
    assert shown["auth"]["token"] == "********"
    assert shown["webrtc"]["ice_servers"][0]["credential"] == "********"
    assert shown["webrtc"]["turn"]["secret"] == "********"
    assert masked(Settings())["auth"]["token"] is None
    assert shown["llm"]["options"] == {"api_key": "********", "base_url": "http://there"}
    assert shown["data_dir"] == "data"


def test_data_dir(tmp_path: Path) -> None:
    path = prepare_data_dir(Settings(data_dir=tmp_path / "a" / "b"))
    assert path.stat().st_mode & 0o777 == 0o700
    assert not list(path.iterdir())
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SettingsError, match=r"data_dir: cannot write in '.*file/data': not a directory"):
        prepare_data_dir(Settings(data_dir=blocked / "data"))
