"""Which programs may be started as MCP servers: those that the operator lists, and no others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..protocol import ToolFault
from .config import McpServer

# What programs need to work at all; nothing that could be a key.
_PASSED_ON = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")


class AllowedCommands:
    """The list `allow_commands`, with bare names looked up in PATH once: when the worker starts."""

    def __init__(self, entries: Sequence[str], *, path: str | None = None) -> None:
        self._path = os.environ.get("PATH", "") if path is None else path
        self._programs = {program for entry in entries if (program := self._found(entry)) is not None}
        self.missing = tuple(entry for entry in entries if self._found(entry) is None)

    def command_of(self, server: McpServer) -> tuple[str, ...]:
        """Give the command of a server, its program as an absolute path.

        Raises:
            ToolFault: `refused`, the program is not allowed; `invoke`, it is not there.
        """
        name = server.command[0]
        program = self._found(name)
        if program is not None and program in self._programs:
            return (program, *server.command[1:])
        if not _is_whole(name):
            raise ToolFault(
                "refused",
                f"the program {name!r} of the MCP server {server.id!r} is neither a name to be found in PATH nor an "
                "absolute path. Correct its `command` and `allow_commands` in the worker's tools file.",
            )
        if name in self.missing:
            raise ToolFault(
                "invoke",
                f"the program {name!r} of the MCP server {server.id!r} is not in PATH, or cannot be executed. "
                "Install it, and start the worker again.",
            )
        raise ToolFault(
            "refused",
            f"the MCP server {server.id!r} would start {name!r}, which this worker does not allow. If it may, add "
            f"{name!r} to `allow_commands` of the worker's tools file.",
        )

    def _found(self, name: str) -> str | None:
        if not _is_whole(name):
            return None
        if Path(name).is_absolute():
            return name if Path(name).is_file() and os.access(name, os.X_OK) else None
        found = shutil.which(name, path=self._path)
        return found if found is not None and Path(found).is_absolute() else None


def _is_whole(name: str) -> bool:
    """Whether a program is named in one of two ways: bare, or by an absolute path without detours."""
    if Path(name).is_absolute():
        return name == os.path.normpath(name)
    return bool(name) and "/" not in name and os.sep not in name


def environment(given: Mapping[str, str], environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Make the environment of a server: a safe minimum of the worker's, and what the tools file gives."""
    ours = os.environ if environ is None else environ
    kept = {name: ours[name] for name in _PASSED_ON if name in ours and not ours[name].startswith("()")}
    return {**kept, **given}
