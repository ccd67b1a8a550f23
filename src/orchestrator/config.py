"""Settings: every default and limit that a person may change, from flags, the environment and `orchestrator.toml`.

In that order: what a flag says wins over `ORCHESTRATOR_*`, which wins over the file. A key of the file that isn't a
setting is an error that names it, because a typing error in a limit must not go unnoticed.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from orchestrator.errors import UsageError
from orchestrator.model.document import ID_RULE, is_id

PREFIX = "ORCHESTRATOR_"
SECRET_PREFIX = "ORCHESTRATOR_SECRET_"
CONFIG_FILE = "orchestrator.toml"
OTHER_VARIABLES = frozenset({"CONFIG", "SKIP_UI", "DEV_SERVER"})
"""Variables of the prefix that are no settings."""

KiB = 1024
MiB = 1024 * 1024


class ConfigError(UsageError):
    """A setting is wrong; the message names the setting, where it came from and what it may be."""

    code = "config"


class UnsafeBind(UsageError):
    """The server was to listen on the network without a key; it doesn't start."""

    code = "unsafe_bind"

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"refusing to listen on {host}: everybody on that network could run workflows here. "
            "Set ORCHESTRATOR_API_KEY to a long random text, or leave the host at 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address of this name."""
    name = host.strip().strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _checked_origin(origin: str) -> str:
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(
            f"an origin is `https://name` or `https://name:port`, not {origin!r} (`*` isn't taken)"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Words = Annotated[tuple[str, ...], NoDecode]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_checked_origin)], ...], NoDecode]


class Settings(BaseSettings):
    """What can be set. Times are seconds, sizes bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    store: str = Field(default="sqlite:///.orchestrator/store.db", description="Where runs are kept.")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address that the server listens on.")
    port: int = Field(
        default=8000, ge=0, le=65535, description="Port that the server listens on; 0: any free one."
    )
    api_key: SecretStr | None = Field(
        default=None, description="Key that every call must show; needed off loopback."
    )
    encryption_key: SecretStr | None = Field(
        default=None,
        description="Key to encrypt stored data with, and after commas those of before.",
    )
    cors_origins: Origins = Field(
        default=(), description="Origins of other people's pages that may call the API."
    )
    allowed_hosts: Words = Field(default=(), description="More names that clients may reach this server by.")
    wrong_keys_max: int = Field(
        default=20, ge=1, description="Wrong keys from one address within a minute; then it has to wait."
    )
    namespace: str = Field(
        default="default", pattern="^[A-Za-z0-9_.-]{1,64}$", description="Namespace of all that is kept."
    )
    nodes: Words = Field(default=(), description="Modules with node classes, by import path or file.")
    dev: bool = Field(default=False, description="Development: node files are loaded again when they change.")

    lease_seconds: float = Field(
        default=15.0, gt=0, le=3600, description="How long a silent worker keeps its tasks."
    )
    heartbeat_seconds: float = Field(
        default=5.0, gt=0, le=1200, description="How often a worker says that it lives."
    )
    blocked_after_seconds: float = Field(
        default=10.0, gt=0, description="How long a node may block the event loop."
    )
    slow_poll_seconds: float = Field(
        default=1.0, gt=0, le=60, description="The safety net under lost wake-ups."
    )
    cancel_grace_seconds: float = Field(
        default=10.0, ge=0, description="How long running tasks are waited for at the end."
    )
    queues: Words = Field(default=("default",), description="Queues whose tasks a worker takes.")
    concurrency: int = Field(default=100, ge=1, le=100_000, description="Tasks at once in one worker.")
    cpu_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=1024,
        description="Processes for CPU nodes in one worker; as many as the machine has cores.",
    )
    snapshot_every: int = Field(default=500, ge=1, description="Events between two snapshots of a run.")

    inline_bytes_max: int = Field(
        default=64 * KiB, ge=0, description="Largest value that is kept inside the journal."
    )
    payload_bytes_max: int = Field(default=16 * MiB, ge=1 * KiB, description="Largest value at all.")

    outbox: Path = Field(
        default=Path(".orchestrator/outbox"), description="Folder where mails of this release land."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="What the log tells."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How the log tells it.")
    shutdown_seconds: float = Field(
        default=10.0, ge=0, description="How long a stopping server waits for open requests."
    )
    sse_heartbeat_seconds: float = Field(
        default=15.0, gt=0, description="How often a silent event stream says that it lives."
    )

    @field_validator("cors_origins", "allowed_hosts", "nodes", "queues", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        return _split(value)

    @field_validator("queues")
    @classmethod
    def _queue_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [name for name in value if not is_id(name)]
        if wrong or not value:
            raise ValueError(
                f"a queue's name is {ID_RULE}" + (f", not {wrong[0]!r}" if wrong else "; name one")
            )
        return value

    @field_validator("api_key", "encryption_key")
    @classmethod
    def _no_blank_key(cls, value: SecretStr | None) -> SecretStr | None:
        # A blank key would be "set" and match nothing or everything: it counts as none.
        return value if value is not None and value.get_secret_value().strip() else None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings)

    @classmethod
    def load(cls, *, file: Path | None = None, **flags: Any) -> Self:
        """The settings that hold: flags that aren't None, then the environment, then the file.

        `file` is `orchestrator.toml` of the working directory by default, or what `ORCHESTRATOR_CONFIG` names; one that
        is named must exist.

        Raises:
            ConfigError: something is set to what it can't be, or the file has a key that isn't a setting.
            UnsafeBind: the host is not loopback and there is no key.
        """
        path, named = _config_path(file)
        kept = _read_file(path, must_exist=named)
        _refuse_unknown(kept, path, cls.model_fields)
        given = {name: value for name, value in flags.items() if value is not None}
        from_environment = {name for name in cls.model_fields if os.environ.get(f"{PREFIX}{name.upper()}")}
        below = {name: value for name, value in kept.items() if name not in from_environment}
        try:
            settings = cls(**{**below, **given})
        except ValidationError as error:
            raise ConfigError(_explain(error, given=given, kept=below, path=path)) from None
        settings.check_bind()
        return settings

    def check_bind(self) -> None:
        """Refuse an address that others can reach as long as there is no key.

        Raises:
            UnsafeBind: that is so.
        """
        if self.api_key is None and not is_loopback(self.host):
            raise UnsafeBind(self.host)


def _config_path(file: Path | None) -> tuple[Path, bool]:
    if file is not None:
        return file, True
    named = os.environ.get(f"{PREFIX}CONFIG")
    return (Path(named), True) if named else (Path(CONFIG_FILE), False)


def _read_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"there is no settings file {path}") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} can't be read: {error}") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _refuse_unknown(kept: Mapping[str, Any], path: Path, known: Mapping[str, Any]) -> None:
    unknown = [name for name in kept if name not in known]
    if unknown:
        told: list[str] = []
        for name in unknown:
            near = get_close_matches(name, known, 1)
            told.append(f"`{name}`" + (f" (did you mean `{near[0]}`?)" if near else ""))
        raise ConfigError(f"{path}: no such setting: {', '.join(told)}")


def _explain(error: ValidationError, *, given: Mapping[str, Any], kept: Mapping[str, Any], path: Path) -> str:
    told: list[str] = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(detail["loc"][0]) if detail["loc"] else ""
        if name in given:
            place = f"the argument `{name}`"
        elif name in kept:
            place = f"{path}: `{name}`"
        else:
            place = f"{PREFIX}{name.upper()}"
        told.append(f"{place}: {detail['msg'].removeprefix('Value error, ')}")
    return "; ".join(told)


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """`ORCHESTRATOR_*` variables that mean nothing here: most likely typing errors, worth a warning."""
    known = {name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    named = [name.upper().removeprefix(PREFIX) for name in environment if name.upper().startswith(PREFIX)]
    return sorted(
        f"{PREFIX}{name}"
        for name in named
        if name not in known and not name.startswith(("SECRET_", "TESTS_"))
    )


class Secrets(Mapping[str, str]):
    """`secrets.X` of expressions: the values of `ORCHESTRATOR_SECRET_X`, by name; names don't regard case.

    Read anew at each look, so that nothing keeps a copy; `values()` is what must be redacted wherever text leaves.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    def __getitem__(self, name: str) -> str:
        return self._environment[SECRET_PREFIX + name.upper()]

    def __iter__(self) -> Iterator[str]:
        for name in self._environment:
            if name.startswith(SECRET_PREFIX) and len(name) > len(SECRET_PREFIX):
                yield name.removeprefix(SECRET_PREFIX)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Secrets({', '.join(sorted(self))})"
