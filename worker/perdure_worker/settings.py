"""What a worker and an embedded stack can be told, from arguments or from `PERDURE_*` variables."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from perdure_graph.naming import NAMESPACE, TASK_QUEUE
from perdure_payloads import PayloadSettings

ENV_PREFIX = "PERDURE_"
START_DEMO = "start"
DEFAULT_STORE = "sqlite:///.perdure/runs.db"


def default_cache_dir() -> Path:
    """Give `$XDG_CACHE_HOME/perdure`, by default `~/.cache/perdure`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "perdure"


def package_version() -> str:
    """Give the version of the installed distribution."""
    try:
        return version("perdure")
    except PackageNotFoundError:
        return "0.0.0"


class WorkerSettings(PayloadSettings):
    """Settings of a worker process and of the embedded stack, beside those of payloads.

    address: `host:port` of the Temporal server; None lets `embedded()` start one of its own.
    namespace: Temporal namespace of all runs.
    task_queue: queue the worker polls and runs are started on.
    api_key: key for a server that wants one (Temporal Cloud); implies TLS.
    tls: talk TLS to the server.
    temporal_cli: path of the `temporal` binary; None searches PATH, the cache and the Go folder.
    cache_dir: where binaries that Perdure builds are kept.
    db: SQLite file of the embedded server; None keeps everything in memory.
    store: where runs are recorded: `sqlite:///path` (or just the path), `postgresql://...`, or `off`. None is
        `.perdure/runs.db` for a worker, a file beside `db` or a temporary one for an embedded stack.
    store_limit_s: how long an effect may wait for a run store that is slow; then its events are sent again later.
    models: file that says which models are served where (docs/models.md); without it the keys in the environment count.
    demo_model: base URL of a fake provider that answers for every model, `http://host:port/v1`, instead of `models`;
        with `start` an embedded stack starts one of its own.
    demo_script: what that one is to say (YAML, docs/models.md); without it, it makes answers up.
    tools: file that says where tools come from (docs/tools.md); without it there are the built-in ones and those of
        installed packages.
    runs_dir: where each run has a folder for the files of its tools; workers that serve one queue must share it.
    ui_port: port of the embedded server's web UI; None takes a free one when a UI is asked for.
    max_concurrent_activities: activities (and local activities) in flight per worker.
    max_cached_workflows: runs kept in memory between their tasks; 0 replays on each task.
    sticky_timeout_s: how long a task waits for the worker that has the run in memory. Short, because after a
        kill -9 an idle run waits exactly this long.
    task_timeout_s: how long a worker may take for one task of a run that an embedded stack starts; after a kill -9 in
        the middle of one, the run waits for the rest of it.
    task_busy_s: how long the code of a run may compute in one task before it is taken for hung.
    heartbeat_interval_s: least time between two heartbeats of one activity to the server. The answer to a heartbeat
        is how a stop reaches an activity in flight, so a stop takes at most so long, and a second.
    graceful_shutdown_s: how long activities in flight may go on after SIGTERM.
    smoke: run a trivial graph through a fresh worker before taking real work.
    log_level, log_format: of the worker's log on stderr.
    deployment_name, build_id: the worker deployment version that Temporal shows.
    versioning: take only runs of this version, and new ones only once it is the current version of its deployment.
    versioning_behavior: whether a run stays with the version that it began on (`pinned`), or moves to the current
        one with its next task (`auto_upgrade`).
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    address: str | None = None
    namespace: str = NAMESPACE
    task_queue: str = TASK_QUEUE
    api_key: SecretStr | None = None
    tls: bool = False
    temporal_cli: Path | None = None
    cache_dir: Path = Field(default_factory=default_cache_dir)
    db: Path | None = None
    store: str | None = Field(default=None, repr=False)
    store_limit_s: float = Field(default=1.0, gt=0, le=4)
    models: Path | None = None
    demo_model: str | None = None
    demo_script: Path | None = None
    tools: Path | None = None
    runs_dir: Path = Path(".perdure/runs")
    ui_port: int | None = Field(default=None, ge=1, le=65535)
    max_concurrent_activities: int = Field(default=200, ge=1)
    max_cached_workflows: int = Field(default=1000, ge=0)
    sticky_timeout_s: float = Field(default=5.0, gt=0)
    task_timeout_s: float = Field(default=5.0, gt=0, le=120)
    task_busy_s: float = Field(default=4.0, gt=0, le=120)
    heartbeat_interval_s: float = Field(default=2.0, ge=0.1, le=60)
    graceful_shutdown_s: float = Field(default=10.0, ge=0)
    smoke: bool = False
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    log_format: Literal["console", "json"] = "console"
    deployment_name: str = "perdure"
    build_id: str = Field(default_factory=package_version, min_length=1)
    versioning: bool = False
    versioning_behavior: Literal["pinned", "auto_upgrade"] = "pinned"

    @field_validator("models", "demo_model", "demo_script", "tools", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        # Compose files hand variables on that may be empty; an empty path would be the working directory.
        return None if isinstance(value, str) and not value.strip() else value

    def to_env(self) -> dict[str, str]:
        """Write the settings as environment variables of a child process (secrets in clear text)."""
        env: dict[str, str] = {}
        for name in type(self).model_fields:
            value: object = getattr(self, name)
            if value is None:
                continue
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[ENV_PREFIX + name.upper()] = text
        return env
