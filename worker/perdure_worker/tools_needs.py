"""What the tools file needs of the worker's environment: variables and programs, by name. Nothing is started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from perdure_activities.models.deployed import FromEnv
from perdure_activities.tools.config import ToolsConfig
from perdure_activities.tools.mcp.commands import AllowedCommands
from perdure_activities.tools.mcp.config import FromCredential
from perdure_activities.tools.mcp.config import FromEnv as McpFromEnv
from perdure_activities.tools.protocol import ToolFault


@dataclass(frozen=True, slots=True)
class Checked:
    """One thing that was looked at. problems: what is wrong with parts of it, where the rest can be used."""

    kind: str
    name: str
    ok: bool
    detail: str
    problems: tuple[str, ...] = ()


def needs_of(config: ToolsConfig, environ: Mapping[str, str]) -> list[Checked]:
    """Say of each variable, credential and program that the file names whether it is there; never what it holds."""
    return [
        *(_variables("credential", name, fields, environ) for name, fields in config.credentials.items()),
        *_headers(config, environ),
        *_unknown_credentials(config),
        *_programs(config, environ),
    ]


def _variables(kind: str, name: str, fields: Mapping[str, FromEnv | McpFromEnv], environ: Mapping[str, str]) -> Checked:
    unset = [f"{field} ({place.env})" for field, place in fields.items() if not environ.get(place.env, "").strip()]
    if unset:
        return Checked(
            kind, name, ok=False, detail=f"not set: {', '.join(unset)}. Set it in the environment of the worker."
        )
    there = ", ".join(f"{field} ({place.env})" for field, place in fields.items())
    return Checked(kind, name, ok=bool(fields), detail=f"set: {there}" if fields else "it has no fields")


def _headers(config: ToolsConfig, environ: Mapping[str, str]) -> Iterator[Checked]:
    """Look at variables that stand where they are used, not under `credentials`."""
    places: list[tuple[str, str, Mapping[str, object]]] = [
        *(("api", one.id, one.headers) for one in config.openapi),
        *(("mcp", one.id, {**one.env, **one.headers}) for one in config.mcp),
        *([("builtin", "search", config.search.headers)] if config.search is not None else []),
    ]
    for kind, name, values in places:
        fields = {field: value for field, value in values.items() if isinstance(value, FromEnv | McpFromEnv)}
        if fields:
            yield _variables(kind, name, fields, environ)


def _unknown_credentials(config: ToolsConfig) -> Iterator[Checked]:
    named = [("api", one.id, one.credential) for one in config.openapi if one.credential is not None]
    for server in config.mcp:
        values = [*server.env.values(), *server.headers.values()]
        named += [("mcp", server.id, value.credential) for value in values if isinstance(value, FromCredential)]
    for kind, name, credential in named:
        if credential not in config.credentials:
            detail = f"there is no credential {credential!r}. Add it to `credentials` of {config.source}."
            yield Checked(kind, name, ok=False, detail=detail)


def _programs(config: ToolsConfig, environ: Mapping[str, str]) -> Iterator[Checked]:
    allowed = AllowedCommands(config.allow_commands, path=environ.get("PATH"))
    for server in config.mcp:
        if not server.command:
            continue
        try:
            program = allowed.command_of(server)[0]
        except ToolFault as fault:
            yield Checked("mcp", server.id, ok=False, detail=fault.message)
        else:
            yield Checked("mcp", server.id, ok=True, detail=f"would start {program}")
