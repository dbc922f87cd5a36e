"""Find the official `temporal` command, or get it.

    python -m perdure_worker.temporal_cli --ensure

Looked for: the configured path, PATH, our cache, Go's folder, the SDK's own download. Else fetched the way
the SDK does it, when its host answers at once, else built from its Go module.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure_graph.errors import PerdureError, PlatformError

from .settings import WorkerSettings

CLI_VERSION = "v1.5.1"
MODULE = "github.com/temporalio/cli/cmd/temporal"
DOWNLOAD_HOST = "temporal.download"
_DOWNLOAD_NAME = "temporal-cli-sdk-python-*"

Progress = Callable[[str], None]


def silent(_text: str) -> None:
    """Report no progress."""


def find(settings: WorkerSettings | None = None) -> Path | None:
    """Find a `temporal` command on this machine; None when there is none.

    Raises:
        PlatformError: the configured path is not an executable file.
    """
    chosen = settings or WorkerSettings()
    if chosen.temporal_cli is not None:
        if not _runnable(chosen.temporal_cli):
            raise PlatformError(
                f"The configured Temporal CLI {str(chosen.temporal_cli)!r} is not an executable file. "
                "Correct or unset PERDURE_TEMPORAL_CLI."
            )
        return chosen.temporal_cli
    return next((path for path in _places(chosen) if _runnable(path)), None)


def ensure(progress: Progress = silent, settings: WorkerSettings | None = None) -> Path:
    """Find the `temporal` command or get it (a download, else about 4 minutes of compiling, once).

    Raises:
        PlatformError: it is not there and can neither be downloaded nor built.
    """
    chosen = settings or WorkerSettings()
    if (found := find(chosen)) is not None:
        return found
    bin_dir = chosen.cache_dir / "bin"
    bin_dir.mkdir(parents=True, exist_ok=True)
    with _locked(bin_dir / ".lock"):
        found = find(chosen) or _download(bin_dir, progress) or _build(bin_dir, progress)
    progress(f"Temporal CLI ready: {found}")
    return found


def _places(settings: WorkerSettings) -> Iterator[Path]:
    if on_path := shutil.which("temporal"):
        yield Path(on_path)
    cache = settings.cache_dir / "bin"
    yield cache / "temporal"
    for variable, tail in (("GOBIN", ""), ("GOPATH", "bin")):
        if base := os.environ.get(variable):
            yield Path(base.split(os.pathsep)[0]) / tail / "temporal"
    yield Path.home() / "go" / "bin" / "temporal"
    for folder in (cache, Path(tempfile.gettempdir())):
        yield from (path for path in sorted(folder.glob(_DOWNLOAD_NAME), reverse=True) if _ours(path))


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _ours(path: Path) -> bool:
    # The temporary folder is open to all users: a binary planted there must never be run.
    info = path.lstat()
    return stat.S_ISREG(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(bin_dir: Path, progress: Progress) -> Path | None:
    try:
        socket.create_connection((DOWNLOAD_HOST, 443), timeout=1.5).close()
    except OSError:
        return None
    progress(f"Downloading the Temporal CLI from {DOWNLOAD_HOST} (about 50 MB, once)")
    try:
        asyncio.run(asyncio.wait_for(_start_once(bin_dir), 180))
    except (RuntimeError, OSError, TimeoutError) as error:
        progress(f"The download failed ({error}); building it instead")
        return None
    return next((path for path in sorted(bin_dir.glob(_DOWNLOAD_NAME)) if _runnable(path)), None)


async def _start_once(bin_dir: Path) -> None:
    from temporalio.testing import WorkflowEnvironment

    started = WorkflowEnvironment.start_local(download_dest_dir=str(bin_dir))  # pyright: ignore[reportUnknownMemberType]
    async with await started:
        return


def _build(bin_dir: Path, progress: Progress) -> Path:
    go = shutil.which("go")
    if go is None:
        raise PlatformError(
            "The Temporal CLI is not installed, cannot be downloaded from here, and there is no Go to build "
            "it with. Install it (https://docs.temporal.io/cli), or install Go 1.24 or newer and run "
            "`python -m perdure_worker.temporal_cli --ensure`, or set PERDURE_ADDRESS to a running server."
        )
    progress(f"Building the Temporal CLI {CLI_VERSION} with Go (about 4 minutes, once)")
    argv = [go, "install", "-v", f"{MODULE}@{CLI_VERSION}"]
    env = {**os.environ, "GOBIN": str(bin_dir)}
    tail: list[str] = []
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=env) as child:  # noqa: S603
        for count, line in enumerate(child.stderr or (), 1):
            tail = [*tail[-14:], line.rstrip()]
            if count % 250 == 0:
                progress(f"  {count} packages done ({line.strip()})")
    target = bin_dir / "temporal"
    if child.returncode != 0 or not _runnable(target):
        raise PlatformError(
            f"`{' '.join(argv[1:])}` failed with exit code {child.returncode}. Check the network and the Go "
            "version, then run it again. Its last lines:\n" + "\n".join(tail)
        )
    return target


def main(argv: list[str] | None = None) -> int:
    """Print the path of the command; with `--ensure` get it first when it is missing."""
    parser = argparse.ArgumentParser(prog="python -m perdure_worker.temporal_cli", description=__doc__)
    parser.add_argument("--ensure", action="store_true", help="download or build it when it is missing")
    wanted = parser.parse_args(argv)

    def say(text: str) -> None:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    try:
        found = ensure(say) if wanted.ensure else find()
    except PerdureError as error:
        say(f"error: {error}")
        return 1
    if found is None:
        say("No Temporal CLI found. Run this again with --ensure.")
        return 1
    sys.stdout.write(f"{found}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
