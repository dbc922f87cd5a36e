"""Files in the folder of the run: what a run writes there, its other tools read; no other run sees it.

Paths are opened part by part, below the folder, and never through a link: so nothing that is in the folder can lead
out of it, not even while it is being changed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..custom import tool
from ..protocol import ToolCallContext, ToolFault

_MAX_BYTES = 1024 * 1024
_MAX_FOLDER_BYTES = 100 * 1024 * 1024
_MOST_FILES = 1_000
_MAX_DEPTH = 8
_MAX_NAME_BYTES = 200
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW

File = Annotated[str, Field(description="Path within the folder of the run, such as `notes/plan.md`.")]


@tool(provider="files", label="Read a file", retry="safe")
def file_read(
    path: File,
    offset: Annotated[int, Field(description="Character to begin with.", ge=0)] = 0,
    limit: Annotated[int, Field(description="How many characters at most.", ge=1, le=100_000)] = 20_000,
    *,
    context: ToolCallContext,
) -> str:
    """Read a text file that was written in this run."""
    with _said(path), _folder_of(context.folder, _parts(path), make=False) as (folder, name):
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ToolFault("bad_arguments", f"{path!r} is no file.")
            text = file.read(_MAX_BYTES + 1)[:_MAX_BYTES].decode("utf-8", "replace")
    part = text[offset : offset + limit]
    left = len(text) - offset - len(part)
    return f"{part}\n[{left} more characters: read on with offset {offset + len(part)}]" if left > 0 else part


@tool(provider="files", label="Write a file", retry="safe", sequential=True)
def file_write(
    path: File,
    content: Annotated[str, Field(description="The whole text of the file; what was there is replaced.")],
    *,
    context: ToolCallContext,
) -> str:
    """Write a text file in the folder of this run."""
    data = content.encode("utf-8", "replace")
    sizes = [size for _, size in _walk(context.folder)]
    if len(data) > _MAX_BYTES or sum(sizes) + len(data) > _MAX_FOLDER_BYTES or len(sizes) >= _MOST_FILES:
        raise ToolFault(
            "bad_arguments",
            f"{path!r} cannot be written: a file has {_MAX_BYTES} bytes at most, and the folder {_MAX_FOLDER_BYTES} "
            f"bytes in {_MOST_FILES} files.",
        )
    with _said(path), _folder_of(context.folder, _parts(path), make=True) as (folder, name):
        if _is_other(folder, name):
            raise ToolFault("bad_arguments", f"{path!r} is no file, so it cannot be replaced.")
        # Beside it, then in its place: nobody reads half of it, whenever this worker dies.
        draft = f".{hashlib.sha256(f'{context.key}{context.attempt}'.encode()).hexdigest()[:16]}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(draft, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
        os.replace(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    return f"{path} was written: {len(data)} bytes."


@tool(provider="files", label="List files", retry="safe")
def file_list(*, context: ToolCallContext) -> str:
    """List the files in the folder of this run, with their sizes in bytes."""
    found = [f"{path} ({size})" for path, size in _walk(context.folder)]
    return "\n".join(sorted(found)) or "There are no files yet."


def _parts(path: str) -> list[str]:
    """Take a path apart; it leads down only, and to no hidden file.

    Raises:
        ToolFault: it is none that a run may use.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    sound = 1 <= len(parts) <= _MAX_DEPTH and all(
        not part.startswith(".") and part.isprintable() and len(part.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
        for part in parts
    )
    if not sound or path.startswith(("/", "\\", "~")) or ":" in parts[0]:
        raise ToolFault(
            "bad_arguments",
            f"{path[:200]!r} is no path within the folder of the run. Give one like `notes/plan.md`, without `..`.",
        )
    return parts


@contextmanager
def _folder_of(root: Path, parts: list[str], *, make: bool) -> Generator[tuple[int, str]]:
    """Open the folder of a file, part by part; gives its handle and the name of the file."""
    if make:
        root.mkdir(parents=True, exist_ok=True)
    handle = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=handle)
            inner = os.open(part, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = inner
        yield handle, parts[-1]
    finally:
        os.close(handle)


def _is_other(folder: int, name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


@contextmanager
def _said(path: str) -> Generator[None]:
    """Say in words for a model what the system says. Its own words would name the folder."""
    try:
        yield
    except FileNotFoundError:
        raise ToolFault("bad_arguments", f"there is no file {path!r}. file_list gives those that there are.") from None
    except OSError as error:
        links = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENXIO)
        why = "it is no file, or a link" if error.errno in links else f"{error.strerror}"
        raise ToolFault("bad_arguments" if error.errno in links else "invoke", f"{path!r}: {why}.") from None


def _walk(root: Path, within: str = "", depth: int = 0) -> Iterator[tuple[str, int]]:
    """Give the files of a folder and their sizes; links and hidden files are none."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False) and depth < _MAX_DEPTH:
            yield from _walk(Path(entry.path), f"{within}{entry.name}/", depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield f"{within}{entry.name}", entry.stat(follow_symlinks=False).st_size
