"""Settings, the search for the Temporal CLI, plug-ins and the examination of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from temporalio import activity

from perdure_graph.errors import PlatformError
from perdure_worker import plugins, temporal_cli
from perdure_worker.doctor import examine, server_check
from perdure_worker.server import LOOPBACK, free_port
from perdure_worker.settings import WorkerSettings


@activity.defn
async def first() -> None:
    """Do nothing."""


@activity.defn
async def second() -> None:
    """Do nothing either."""


@activity.defn(name="first")
async def impostor() -> None:
    """Do nothing under a name that is taken."""


async def plain() -> None:
    """Be no activity."""


BOTH = [first, plain]


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    """A machine without a Temporal CLI and without Go."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GOBIN", raising=False)
    monkeypatch.delenv("GOPATH", raising=False)
    monkeypatch.setattr(temporal_cli.tempfile, "tempdir", str(tmp_path / "temporary"))
    return WorkerSettings(cache_dir=tmp_path / "cache")


def test_settings_survive_the_way_through_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = WorkerSettings(
        address="h:1", api_key=SecretStr("k"), tls=True, db=tmp_path / "a.db", sticky_timeout_s=0.5, smoke=True
    )
    for key, value in settings.to_env().items():
        monkeypatch.setenv(key, value)
    assert WorkerSettings() == settings


def test_settings_are_checked_and_hide_the_key() -> None:
    with pytest.raises(ValidationError, match="max_concurrent_activities"):
        WorkerSettings(max_concurrent_activities=0)
    assert "hidden" not in repr(WorkerSettings(api_key=SecretStr("hidden")))


def test_cli_is_looked_for_in_the_documented_order(
    bare: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert temporal_cli.find(bare) is None
    download = executable(tmp_path / "temporary" / "temporal-cli-sdk-python-9.9.9")
    assert temporal_cli.find(bare) == download
    go_home = executable(tmp_path / "home" / "go" / "bin" / "temporal")
    assert temporal_cli.find(bare) == go_home
    monkeypatch.setenv("GOBIN", str(tmp_path / "gobin"))
    go_bin = executable(tmp_path / "gobin" / "temporal")
    assert temporal_cli.find(bare) == go_bin
    cached = executable(tmp_path / "cache" / "bin" / "temporal")
    assert temporal_cli.find(bare) == cached
    on_path = executable(tmp_path / "path" / "temporal")
    assert temporal_cli.find(bare) == on_path
    configured = executable(tmp_path / "mine")
    assert temporal_cli.find(bare.model_copy(update={"temporal_cli": configured})) == configured


def test_download_that_others_may_write_is_not_run(bare: WorkerSettings, tmp_path: Path) -> None:
    planted = executable(tmp_path / "temporary" / "temporal-cli-sdk-python-9.9.9")
    planted.chmod(0o777)
    assert temporal_cli.find(bare) is None


def test_wrong_configured_cli_is_an_error_that_names_it(bare: WorkerSettings, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match=r"nowhere.*PERDURE_TEMPORAL_CLI"):
        temporal_cli.find(bare.model_copy(update={"temporal_cli": tmp_path / "nowhere"}))


def test_without_go_the_error_says_what_to_install(bare: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal_cli, "DOWNLOAD_HOST", "host.invalid")
    with pytest.raises(PlatformError, match=r"docs\.temporal\.io/cli.*PERDURE_ADDRESS"):
        temporal_cli.ensure(settings=bare)


def test_build_runs_go_install_into_the_cache_and_reports(
    bare: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal_cli, "DOWNLOAD_HOST", "host.invalid")
    go = executable(tmp_path / "path" / "go")
    go.write_text('#!/bin/sh\necho "$@" >"$GOBIN/called"\n: >"$GOBIN/temporal"\n/bin/chmod +x "$GOBIN/temporal"\n')
    said: list[str] = []
    assert temporal_cli.ensure(said.append, bare) == tmp_path / "cache" / "bin" / "temporal"
    called = (tmp_path / "cache" / "bin" / "called").read_text()
    assert called == f"install -v {temporal_cli.MODULE}@{temporal_cli.CLI_VERSION}\n"
    assert "Building" in said[0] and "ready" in said[-1]


def test_failed_build_shows_the_last_words_of_go(
    bare: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal_cli, "DOWNLOAD_HOST", "host.invalid")
    executable(tmp_path / "path" / "go").write_text("#!/bin/sh\necho no route to module proxy >&2\nexit 3\n")
    with pytest.raises(PlatformError, match=r"(?s)exit code 3.*no route to module proxy"):
        temporal_cli.ensure(settings=bare)


Points = Callable[[str, str], None]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Points:
    """Register entry points for the length of a test, as an installed distribution would."""
    points: list[EntryPoint] = []

    def add(group: str, value: str) -> None:
        points.append(EntryPoint(f"plugin{9 - len(points)}", value, group))

    def give(*, group: str) -> list[EntryPoint]:
        return [point for point in points if point.group == group]

    monkeypatch.setattr(plugins, "entry_points", give)
    return add


def test_activities_of_plugins_follow_ours_in_sorted_order(registered: Points) -> None:
    ours = plugins.activities()
    registered("perdure.activities", f"{__name__}:second")
    registered("perdure.activities", f"{__name__}:first")
    assert plugins.activities() == [*ours, first, second]


def test_entry_point_that_does_not_load_is_named(registered: Points) -> None:
    registered("perdure.activities", "perdure_worker_example:missing")
    with pytest.raises(PlatformError, match=r"'plugin9'.*perdure_worker_example:missing.*does not load"):
        plugins.activities()


def test_activity_under_a_taken_name_is_refused(registered: Points) -> None:
    registered("perdure.activities", f"{__name__}:first")
    registered("perdure.activities", f"{__name__}:impostor")
    with pytest.raises(PlatformError, match="registers the activity 'first', which"):
        plugins.activities()


def test_callable_that_is_no_activity_is_refused(registered: Points) -> None:
    registered("perdure.activities", f"{__name__}:BOTH")
    with pytest.raises(PlatformError, match=r"plain is not an activity: decorate it"):
        plugins.activities()


def test_node_plugin_packages_are_passed_into_the_sandbox(registered: Points) -> None:
    registered("perdure.nodes", "acme_nodes.translate:NODE")
    assert {"acme_nodes", "perdure_graph", "json_repair"} <= set(plugins.passthrough_modules())


def test_module_that_does_not_import_is_named() -> None:
    with pytest.raises(PlatformError, match=r"'no_such_module_here' cannot be imported"):
        plugins.warm(["no_such_module_here"])


def test_examination_finds_this_machine_fit_and_a_bare_one_not(bare: WorkerSettings) -> None:
    found = {check.name: check for check in examine(bare)}
    assert found["python"].ok and found["jinja2"].ok
    assert not found["temporal CLI"].ok and "--ensure" in found["temporal CLI"].how_to_get
    assert not found["go"].ok and not found["go"].required
    assert not found["bubblewrap"].ok and "apt-get" in found["bubblewrap"].how_to_get
    assert found["cache folder"].ok


async def test_unreachable_server_is_found_with_its_address() -> None:
    address = f"{LOOPBACK}:{free_port()}"
    check = await server_check(WorkerSettings(address=address))
    assert not check.ok and check.required
    assert address in check.detail


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    found = {check.name: check for check in examine(WorkerSettings(cache_dir=tmp_path / "cache"))}
    assert not found["cache folder"].ok
