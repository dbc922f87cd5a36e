"""How clients and other commands find a running `perdure dev`: a small file per process in the cache folder.

The file is removed at exit; one left behind by a crash is recognised by its process id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from perdure_payloads.settings import PayloadSettings, read_settings


@dataclass(frozen=True, slots=True)
class DevStack:
    """Where a `perdure dev` can be reached."""

    pid: int
    address: str
    namespace: str
    task_queue: str
    ui_url: str | None
    blobs: str | None = None
    store: str | None = None


def folder() -> Path:
    """Give the folder of the files: `$PERDURE_CACHE_DIR/dev`, by default `~/.cache/perdure/dev`."""
    if chosen := os.environ.get("PERDURE_CACHE_DIR"):
        return Path(chosen) / "dev"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "perdure" / "dev"


@contextmanager
def announced(stack: DevStack) -> Generator[Path]:
    """Make a stack findable for the length of the block."""
    folder().mkdir(parents=True, exist_ok=True)
    path = folder() / f"{stack.pid}.json"
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(asdict(stack)), encoding="utf-8")
    draft.replace(path)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def running() -> list[DevStack]:
    """List the stacks whose process is alive; files of dead ones are removed."""
    found: list[DevStack] = []
    for path in sorted(folder().glob("*.json")):
        stack = _read(path)
        if stack is not None and _alive(stack.pid):
            found.append(stack)
        else:
            path.unlink(missing_ok=True)
    return found


def payloads_at(address: str) -> PayloadSettings:
    """Give the settings of payloads for a server; the blobs of a running `perdure dev` are where it keeps them.

    Raises:
        PlatformError: a `PERDURE_*` variable is wrong.
    """
    blobs = next((stack.blobs for stack in running() if stack.address == address), None)
    return payloads_with(blobs)


def payloads_with(blobs: str | None) -> PayloadSettings:
    """Give the settings of payloads with the blobs that a `perdure dev` announced, if it did.

    Raises:
        PlatformError: a `PERDURE_*` variable is wrong.
    """
    return read_settings(**({"blobs": blobs, "blobs_create": False} if blobs else {}))


def _read(path: Path) -> DevStack | None:
    try:
        return DevStack(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
