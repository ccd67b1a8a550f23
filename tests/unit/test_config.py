"""Settings: where they come from, and that no mistake in them goes unnoticed."""

from pathlib import Path

import pytest

from orchestrator.config import ConfigError, Secrets, Settings, UnsafeBind, is_loopback, unknown_variables


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and no settings in the environment."""
    import os

    for name in list(os.environ):
        if name.upper().startswith("ORCHESTRATOR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_are_those_of_the_design() -> None:
    settings = Settings.load()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.store == "sqlite:///.orchestrator/store.db"
    assert (settings.lease_seconds, settings.heartbeat_seconds, settings.blocked_after_seconds) == (15, 5, 10)
    assert (settings.concurrency, settings.snapshot_every, settings.slow_poll_seconds) == (100, 500, 1)
    assert settings.cancel_grace_seconds == 10
    assert settings.inline_bytes_max == 64 * 1024
    assert settings.payload_bytes_max == 16 * 1024 * 1024


def test_flags_win_over_the_environment_and_that_over_the_file(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clean / "orchestrator.toml").write_text(
        'port = 1\nconcurrency = 1\nsnapshot_every = 1\nnodes = ["a", "b.py"]\n'
    )
    monkeypatch.setenv("ORCHESTRATOR_PORT", "2")
    monkeypatch.setenv("ORCHESTRATOR_CONCURRENCY", "2")
    settings = Settings.load(port=3, concurrency=None)
    assert (settings.port, settings.concurrency, settings.snapshot_every) == (3, 2, 1)
    assert settings.nodes == ("a", "b.py")


def test_an_empty_variable_sets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_PORT", "")
    assert Settings.load().port == 8000


def test_lists_are_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CORS_ORIGINS", "https://A.example, http://b.example:81/ ,")
    monkeypatch.setenv("ORCHESTRATOR_NODES", "company.nodes,./more.py")
    settings = Settings.load()
    assert settings.cors_origins == ("https://a.example", "http://b.example:81")
    assert settings.nodes == ("company.nodes", "./more.py")


@pytest.mark.parametrize("origin", ["*", "null", "evil.example", "https://a.example/path", "ftp://a.example"])
def test_an_origin_that_is_none_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CORS_ORIGINS", origin)
    with pytest.raises(ConfigError, match="ORCHESTRATOR_CORS_ORIGINS: an origin is"):
        Settings.load()


def test_an_unknown_key_of_the_file_is_named_with_the_nearest_one(clean: Path) -> None:
    (clean / "orchestrator.toml").write_text("concurency = 5\n[server]\nport = 1\n")
    with pytest.raises(
        ConfigError, match=r"orchestrator.toml.*`concurency` \(did you mean `concurrency`\?\), `server`"
    ):
        Settings.load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = ", "not TOML"),
        ("port = 70000", r"orchestrator.toml: `port`: .*65535"),
        ('port = "x"', r"orchestrator.toml: `port`"),
        ('log_level = "loud"', r"`log_level`: .*'debug'"),
    ],
)
def test_a_file_that_cannot_be_meant_is_an_error_with_its_place(text: str, said: str, clean: Path) -> None:
    (clean / "orchestrator.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        Settings.load()


def test_a_wrong_value_names_where_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_LEASE_SECONDS", "-1")
    with pytest.raises(ConfigError, match="ORCHESTRATOR_LEASE_SECONDS"):
        Settings.load()
    with pytest.raises(ConfigError, match="the argument `concurrency`"):
        Settings.load(concurrency=0, lease_seconds=15)


def test_a_file_that_is_named_must_be_there(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no settings file"):
        Settings.load(file=clean / "other.toml")
    (clean / "other.toml").write_text("port = 81")
    assert Settings.load(file=clean / "other.toml").port == 81
    monkeypatch.setenv("ORCHESTRATOR_CONFIG", str(clean / "other.toml"))
    assert Settings.load().port == 81


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com", "127.0.0.1.example.com"])
def test_the_network_needs_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsafeBind):
        Settings.load(host=host)
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "   ")
    with pytest.raises(UnsafeBind):
        Settings.load(host=host)
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "a key")
    assert Settings.load(host=host).host == host


def test_loopback_has_many_names() -> None:
    assert all(
        map(
            is_loopback,
            ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"],
        )
    )
    assert not any(map(is_loopback, ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example", "1", "0x7f.1"]))


def test_a_wrong_setting_does_not_show_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_API_KEY", "hunter2")
    monkeypatch.setenv("ORCHESTRATOR_PORT", "x")
    with pytest.raises(ConfigError) as caught:
        Settings.load()
    assert "hunter2" not in str(caught.value)


def test_secrets_come_from_the_environment_and_show_only_their_names() -> None:
    environment = {"ORCHESTRATOR_SECRET_TOKEN": "hunter2", "ORCHESTRATOR_SECRET_": "x", "OTHER": "y"}
    secrets = Secrets(environment)
    assert dict(secrets) == {"TOKEN": "hunter2"}
    assert secrets["token"] == "hunter2"
    assert "token" in secrets
    assert "other" not in secrets
    assert repr(secrets) == "Secrets(TOKEN)"
    environment["ORCHESTRATOR_SECRET_LATER"] = "z"
    assert secrets["LATER"] == "z"


def test_every_setting_stands_in_the_documentation() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        assert f"| `{name}` |" in text
        assert field.description
        assert field.description in text


def test_a_variable_that_is_no_setting_is_noticed() -> None:
    environment = {
        "ORCHESTRATOR_API_KYE": "x",
        "ORCHESTRATOR_API_KEY": "x",
        "ORCHESTRATOR_CONFIG": "x",
        "ORCHESTRATOR_SECRET_A": "x",
        "PATH": "x",
    }
    assert unknown_variables(environment) == ["ORCHESTRATOR_API_KYE"]
