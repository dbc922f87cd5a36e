"""Examine the machine: what Perdure needs, whether it is there, and how to get it.

python -m perdure_worker.doctor [--server]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from perdure_graph.errors import PerdureError

from . import temporal_cli
from .settings import WorkerSettings

if TYPE_CHECKING:
    from .models import Deployed

MIN_PYTHON = (3, 11)
MIN_FREE_BYTES = 1_000_000_000
CONNECT_LIMIT_S = 5.0


class Check(BaseModel):
    """One thing examined. `required` is False where Perdure runs without it, with less."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    detail: str
    how_to_get: str = ""
    required: bool = True


def examine(settings: WorkerSettings) -> list[Check]:
    """Examine everything but the network."""
    return [
        _python(),
        _cli(settings),
        _go(),
        _bubblewrap(),
        _user_namespaces(),
        _package("pydantic-monty", "the fast Python sandbox of code nodes"),
        _package("mini-racer", "JavaScript in code nodes"),
        _package("jinja2", "template nodes"),
        _disk(settings.cache_dir),
        _writable("cache folder", settings.cache_dir),
        *([] if settings.db is None else [_writable("database folder", settings.db.parent)]),
        *_models(settings),
        *_tools(settings),
    ]


async def examine_all(settings: WorkerSettings) -> list[Check]:
    """Examine everything and, where one is configured, the Temporal server."""
    local = await asyncio.to_thread(examine, settings)
    return [*local, await server_check(settings)]


async def server_check(settings: WorkerSettings) -> Check:
    """Examine whether the configured server answers and knows our search attributes."""
    name = "temporal server"
    if settings.address is None:
        return Check(name=name, ok=True, detail="none configured: an embedded one is started when needed")
    from .runtime import connect
    from .server import missing_attributes

    try:
        async with asyncio.timeout(CONNECT_LIMIT_S):
            missing = await missing_attributes(await connect(settings))
    except (PerdureError, TimeoutError) as error:
        return Check(
            name=name,
            ok=False,
            detail=str(error) or f"no answer from {settings.address} in {CONNECT_LIMIT_S:.0f} s",
            how_to_get="Start the server, or correct PERDURE_ADDRESS and PERDURE_NAMESPACE.",
        )
    if missing:
        commands = "; ".join(
            f"temporal operator search-attribute create --name {key} --type {kind}" for key, kind in missing.items()
        )
        return Check(name=name, ok=False, detail=f"lacks search attributes: {', '.join(missing)}", how_to_get=commands)
    return Check(name=name, ok=True, detail=f"{settings.address}, namespace {settings.namespace!r}")


def _python() -> Check:
    text = ".".join(map(str, sys.version_info[:3]))
    return Check(
        name="python",
        ok=sys.version_info[:2] >= MIN_PYTHON,
        detail=f"{text} ({sys.executable})",
        how_to_get="Install Python 3.11 or newer.",
    )


def _cli(settings: WorkerSettings) -> Check:
    name = "temporal CLI"
    needed = settings.address is None
    how = "Run `python -m perdure_worker.temporal_cli --ensure`, or install it: https://docs.temporal.io/cli"
    try:
        path = temporal_cli.find(settings)
    except PerdureError as error:
        return Check(name=name, ok=False, detail=str(error), how_to_get=how, required=needed)
    if path is None:
        return Check(name=name, ok=False, detail="not found", how_to_get=how, required=needed)
    ok, text = _run([str(path), "--version"])
    return Check(name=name, ok=ok, detail=f"{path}: {text}", how_to_get=how, required=needed)


def _go() -> Check:
    path = shutil.which("go")
    how = "Install Go 1.24 or newer: https://go.dev/dl (only needed to build the Temporal CLI)."
    if path is None:
        return Check(name="go", ok=False, detail="not found", how_to_get=how, required=False)
    ok, text = _run([path, "version"])
    return Check(name="go", ok=ok, detail=text, how_to_get=how, required=False)


def _bubblewrap() -> Check:
    path = shutil.which("bwrap")
    how = "Install it: `apt-get install bubblewrap` or the package of that name of your system."
    if path is None:
        return Check(name="bubblewrap", ok=False, detail="not found", how_to_get=how, required=False)
    ok, text = _run([path, "--ro-bind", "/", "/", "--unshare-all", "--die-with-parent", "true"])
    return Check(
        name="bubblewrap",
        ok=ok,
        detail=path if ok else f"{path} does not work here: {text}",
        how_to_get="Allow user namespaces (see below); in Docker use `--security-opt seccomp=unconfined`.",
        required=False,
    )


def _user_namespaces() -> Check:
    name = "user namespaces"
    if sys.platform != "linux":
        return Check(name=name, ok=False, detail="Linux only", required=False)
    unshare = shutil.which("unshare")
    if unshare is not None:
        ok, text = _run([unshare, "--user", "--map-root-user", "true"])
    else:
        limit = _read(Path("/proc/sys/user/max_user_namespaces"))
        ok, text = limit not in ("", "0"), f"max_user_namespaces = {limit or 'unknown'}"
    return Check(
        name=name,
        ok=ok,
        detail="usable" if ok else text,
        how_to_get="`sysctl -w user.max_user_namespaces=15000`; on Ubuntu 24.04 or newer also "
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`.",
        required=False,
    )


def _package(name: str, purpose: str) -> Check:
    try:
        return Check(name=name, ok=True, detail=f"{version(name)}: {purpose}")
    except PackageNotFoundError:
        return Check(
            name=name,
            ok=False,
            detail=f"not installed: {purpose}",
            how_to_get="pip install 'perdure[worker]'",
        )


def _models(settings: WorkerSettings) -> list[Check]:
    """Examine where models are served; `perdure models check` tries them."""
    from .models import deployed

    try:
        found = deployed(settings)
    except ImportError as error:
        how = "pip install 'perdure[worker]'"
        return [Check(name="models", ok=False, detail=f"cannot be asked here: {error}", how_to_get=how)]
    except PerdureError as error:
        return [Check(name="models", ok=False, detail=str(error), how_to_get="Correct it: docs/models.md.")]
    if not found:
        how = "Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a file and name it in PERDURE_MODELS (docs/models.md)."
        detail = "no deployment is configured: flows that ask one run with --demo-model only"
        return [Check(name="models", ok=False, detail=detail, how_to_get=how, required=False)]
    return [_deployment(one) for one in found]


def _deployment(one: Deployed) -> Check:
    about = f"{one.provider} at {one.address or 'no address'}"
    lacking, how = "", ""
    try:
        import_module(one.sdk)
        about += f", SDK {one.sdk} {version(one.sdk)}"
    except (ImportError, PackageNotFoundError) as error:
        lacking, how = f"{one.sdk} cannot be imported ({error})", "pip install 'perdure[worker]'"
    if unset := [name for name in one.variables if not os.environ.get(name, "").strip()]:
        lacking, how = f"{', '.join(unset)} is not set", "Set it in the environment of the worker."
    detail = f"{about}; {lacking}" if lacking else about
    return Check(name=f"model deployment {one.name}", ok=not lacking, detail=detail, how_to_get=how, required=False)


def _tools(settings: WorkerSettings) -> list[Check]:
    """Examine the tools file, where one is named; `perdure tools check` looks at what it names."""
    if settings.tools is None:
        return []
    name, how = "tools file", "`perdure tools check` says more (docs/tools.md)."
    try:
        from perdure_activities.tools.config import ToolsConfig

        from .tools_needs import needs_of

        needs = needs_of(ToolsConfig.of_file(settings.tools.expanduser()), os.environ)
    except ImportError as error:
        how = "pip install 'perdure[worker]'"
        return [Check(name=name, ok=False, detail=f"cannot be read here: {error}", how_to_get=how)]
    except PerdureError as error:
        return [Check(name=name, ok=False, detail=str(error), how_to_get="Correct it: docs/tools.md.")]
    lacking = "; ".join(f"{one.kind} {one.name}: {one.detail}" for one in needs if not one.ok)
    detail = f"{settings.tools}: {lacking}" if lacking else str(settings.tools)
    return [Check(name=name, ok=not lacking, detail=detail, how_to_get=how, required=False)]


def _disk(folder: Path) -> Check:
    there = _nearest(folder)
    free = shutil.disk_usage(there).free
    return Check(
        name="free disk",
        ok=free >= MIN_FREE_BYTES,
        detail=f"{free / 1e9:.1f} GB free at {there}",
        how_to_get="Free 1 GB, or point PERDURE_CACHE_DIR at another disk.",
        required=False,
    )


def _writable(name: str, folder: Path) -> Check:
    there = _nearest(folder)
    return Check(
        name=name,
        ok=there.is_dir() and os.access(there, os.W_OK | os.X_OK),
        detail=str(folder) if folder.exists() else f"{folder} (will be made)",
        how_to_get=f"Make {there} writable or choose another folder with PERDURE_CACHE_DIR or PERDURE_DB.",
    )


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _run(argv: list[str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    text = (done.stdout or done.stderr).strip().splitlines()
    return done.returncode == 0, text[0] if text else f"exit code {done.returncode}"


async def _only_server(settings: WorkerSettings) -> list[Check]:
    return [await server_check(settings)]


def main(argv: list[str] | None = None) -> int:
    """Write the findings as lines; exit code 1 when something required is missing."""
    parser = argparse.ArgumentParser(prog="python -m perdure_worker.doctor", description=__doc__)
    parser.add_argument("--server", action="store_true", help="examine the Temporal server only")
    wanted = parser.parse_args(argv)
    settings = WorkerSettings()
    checks = asyncio.run(_only_server(settings) if wanted.server else examine_all(settings))
    for check in checks:
        mark = "ok     " if check.ok else "MISSING" if check.required else "without"
        tail = "" if check.ok or not check.how_to_get else f" -> {check.how_to_get}"
        sys.stdout.write(f"{mark} {check.name}: {check.detail}{tail}\n")
    return int(any(check.required and not check.ok for check in checks))


if __name__ == "__main__":
    from .main import leave

    leave(main())
