"""The settings of an installation: ``config/tidings.yaml``, typed.

Secrets are named, never written: ``env:NAME`` or ``file:PATH`` is resolved where it is used.
The schema is held by a golden file; a change to it is a migration.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tidings.content import content_root
from tidings.contract import Category, Tenant
from tidings.durations import PositiveDuration
from tidings.load import bind, read_file
from tidings.problems import Problems, ValueProblem
from tidings.quiet_hours import QuietHours, is_zone
from tidings.secret import Secret

CONFIG_VARIABLE = "TIDINGS_CONFIG"


class Part(BaseModel):
    """The base of a part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class CategorySettings(Part):
    """A kind of message that people consent to."""

    critical: bool = False
    """Codes, payment, security: skips category and marketing opt-outs."""

    marketing: bool = False
    """Advertising: unsubscribe links, and the first to be held back."""

    opt_in: bool = False
    """Only for those who said yes."""

    mandatory: bool = False
    """The law or the tenant wants it sent even on a channel that was switched off."""

    transactional: bool = False
    """Something that the person waits for, an order or a receipt: passes caps, and still counts."""


class TenantSettings(Part):
    """What a tenant says for all its people. Their own choices are more specific."""

    off: frozenset[str] = frozenset()
    """The kill switch: channels, categories, ``category/channel``, or ``*`` for everything."""

    mandatory: frozenset[str] = frozenset()
    """Critical categories that even a switched-off channel must carry."""

    channels: dict[str, bool] = {}
    """Its default for a channel."""

    categories: dict[str, bool] = {}
    """Its default for a category."""

    pairs: dict[str, bool] = {}
    """Its default for ``category/channel``."""

    types: dict[str, bool] = {}
    """Its default for a type of event."""

    zone: str = ""
    """The time zone of its people who have told none, such as ``Europe/Madrid``."""

    quiet: QuietHours | None = None
    """The quiet hours of its people who have told none, such as ``22:00-08:00``."""

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        if name and not is_zone(name):
            raise ValueProblem(
                "bad-value", f"there is no time zone `{name}`", "a name such as Europe/Madrid"
            )
        return name


class TopicSettings(Part):
    """Partitions and life of the topics that Tidings makes."""

    entries_partitions: int = Field(8, ge=1, le=10_000)
    """Of ``tidings.<flow>``: the flow's greatest parallelism, fixed when the topic is made."""

    deliveries_partitions: int = Field(8, ge=1, le=10_000)
    """Of ``deliveries.<channel>.<priority>``."""

    source_partitions: int = Field(8, ge=1, le=10_000)
    """Of an upstream's topic, where Tidings makes it (``tidings topics apply --sources``)."""

    replication: int = Field(1, ge=1, le=10)
    """Copies of each; 3 in production."""


class ConnectionSettings(Part):
    """Another system that flows may look things up in."""

    url: str = Field(pattern=r"^[a-z][a-z0-9+]*://.*$")
    """A database, ``mysql+pymysql://USER@HOST/DATABASE`` or ``sqlite:///FILE``; or a service that
    paths hang on, ``https://HOST/PATH``. A password in it is refused: that is a secret."""

    password: Secret | None = None
    """A database's password: ``env:NAME`` or ``file:PATH``."""

    headers: dict[str, Secret] = {}
    """What goes along with each request to a service, such as ``authorization``."""

    concurrency: int = Field(4, ge=1, le=64)
    """How many questions may be under way at a time, for each process."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if urlsplit(self.url).password:
            raise ValueProblem(
                "bad-secret", "a password stands in the `url`", "name it: password: env:NAME"
            )
        foreign = "password" if self.kind() == "http" else "headers"
        if foreign in self.model_fields_set:
            raise ValueProblem("bad-value", f"`{foreign}` says nothing to {self.kind()}")
        return self

    def kind(self) -> str:
        """``sql`` or ``http``."""
        return "http" if self.url.startswith(("http://", "https://")) else "sql"


class PayloadSettings(Part):
    """Where messages that are too large for a push wait for the app to fetch them."""

    url: str = Field("", pattern=r"^(https?://[!-~]+)?$")
    """The public address at which an app fetches them; what a push carries is this, ``/`` and a
    signed reference. A lane that says ``overflow: fetch`` needs it."""

    key: Secret | None = None
    """What the references are signed with, 32 random bytes or more. All processes have the same
    one."""

    store: str = ""
    """Where they are kept: ``sqlite:FILE`` or ``valkey://HOST:PORT/0``; by default where claims
    are."""

    keep: PositiveDuration = 7 * 86_400_000
    """For how long, where a message never expires."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if bool(self.url) != (self.key is not None):
            lacking = "url" if self.key is not None else "key"
            raise ValueProblem(
                "missing-field",
                f"`payloads` needs `{lacking}` as well",
                "payloads: {url: https://push.example.com/payloads, key: env:PAYLOADS_KEY}",
            )
        return self


class StateSettings(Part):
    """How flows keep their state in the log."""

    buckets: int = Field(64, ge=1, le=4_096)
    """Per partition of a flow; fixed when its topic is made."""

    save_rate: int = Field(4_000_000, ge=10_000)
    """Bytes a second a flow process may spend on saving: more shortens a replay."""


class Settings(Part):
    """An installation of Tidings."""

    log: str = "sqlite:data/log"
    """Where the log is: ``sqlite:FOLDER`` or ``kafka:HOST:PORT,…``."""

    claims: str = "sqlite:data/claims.db"
    """Where claims and leases are: ``sqlite:FILE``, ``valkey://HOST:PORT/0`` or ``embedded``."""

    people: str = "file:config/people"
    """Where profiles are."""

    suppressions: str = "file:data/suppressions"
    """Where the suppression list is."""

    templates: str = "config/templates"
    """The folder of templates."""

    default_locale: str = "en"
    """The language of a person who has not said."""

    categories: dict[str, CategorySettings] = {}
    """Kinds of message, by name."""

    types: dict[str, str] = {}
    """Which category a type of event or notification belongs to."""

    tenants: dict[str, TenantSettings] = {}
    """Tenants that differ from the defaults, by name."""

    channels: dict[str, str] = {"push": "device", "email": "email", "sms": "phone"}
    """The kind of address that each channel needs."""

    providers: dict[str, dict[str, Any]] = {}
    """By name: ``kind`` (apns, sandbox, …) and that kind's own settings."""

    connections: dict[str, ConnectionSettings] = {}
    """Other systems that ``lookup`` may ask, by name."""

    costs: dict[str, Annotated[float, Field(ge=0)]] = {}
    """What a notification on a channel costs on average in the account's currency, for `tidings
    backtest`: ``{sms: 0.012}``."""

    payloads: PayloadSettings = PayloadSettings()
    topics: TopicSettings = TopicSettings()
    state: StateSettings = StateSettings()

    def category_table(self) -> Mapping[str, Category]:
        """The categories, as steps are given them."""
        return {
            name: Category(name, **settings.model_dump())
            for name, settings in self.categories.items()
        }

    def tenant_table(self) -> Mapping[str, Tenant]:
        """The tenants, as steps are given them."""
        return {
            name: Tenant(**settings.model_dump(exclude_none=True))
            for name, settings in self.tenants.items()
        }


def load_settings(path: Path | None, env: Mapping[str, str] | None = None) -> Settings:
    """The settings of a file; of the shipped ``config/tidings.yaml`` where none is named.

    ``TIDINGS_LOG`` and ``TIDINGS_CLAIMS`` in ``env`` (the process's environment if None) outrank
    the file. Raises ProblemsError with every mistake in it, OSError where it can't be read.
    """
    env = os.environ if env is None else env
    problems = Problems()
    file = path or content_root() / "config" / "tidings.yaml"
    node = read_file(file, env, problems)
    settings = None if node is None else bind(node, Settings, "tidings", problems)
    problems.raise_if_any()
    assert settings is not None
    outranked = {
        name: env[f"TIDINGS_{name.upper()}"]
        for name in ("log", "claims")
        if f"TIDINGS_{name.upper()}" in env
    }
    return settings.model_copy(update=outranked)


def settings_file(given: Path | None, env: Mapping[str, str] | None = None) -> Path | None:
    """The settings file: the one given, ``TIDINGS_CONFIG``'s, ``config/tidings.yaml`` here, or None
    for the shipped one."""
    named = given or (os.environ if env is None else env).get(CONFIG_VARIABLE)
    if named:
        return Path(named)
    here = Path("config/tidings.yaml")
    return here if here.is_file() else None


def read_settings(given: Path | None, log: str | None = None) -> Settings:
    """The settings; ``log``, an address, outranks what they say. See ``load_settings``."""
    settings = load_settings(settings_file(given))
    return settings if log is None else settings.model_copy(update={"log": log})
