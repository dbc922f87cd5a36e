"""The worker's tools file, named by `PERDURE_TOOLS`: where tools come from, their credentials, who is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from perdure_graph.errors import PlatformError

from ..models.declared.problems import BadModelsFile, read_mapping, validated
from ..models.deployed import FromEnv, Part
from .approval import ApprovalRule
from .mcp.config import McpServer
from .openapi.config import OpenAPISource

TOOLS_SETTING = "PERDURE_TOOLS"

_WIKIPEDIA = "https://{language}.wikipedia.org/w/api.php"


class BadToolsFile(PlatformError):
    """The tools file cannot be used. Says the file, the place, what is wrong and what to do."""

    code: ClassVar[str] = "bad_tools_file"
    retryable: ClassVar[bool] = False


class SearchEndpoint(Part):
    """A search engine that answers with JSON.

    url: with `{query}` and `{count}`, as in `https://host/search?q={query}&format=json`.
    results: path of the list in the answer; title, link, snippet: names within each, the first that is there counts.
    headers: sent along; a value is `{env: VARIABLE}`. allow_private: whether it may be in a private network.
    """

    url: str
    results: str = "results"
    title: tuple[str, ...] = ("title", "name")
    link: tuple[str, ...] = ("url", "link", "href")
    snippet: tuple[str, ...] = ("content", "snippet", "description", "abstract", "body")
    headers: dict[str, FromEnv] = Field(default_factory=dict[str, FromEnv])
    allow_private: bool = False

    @field_validator("url")
    @classmethod
    def _takes_a_query(cls, value: str) -> str:
        if "{query}" not in value:
            raise ValueError("it does not say where the query goes; write `{query}` there")
        return _web(value)


class Wikipedia(Part):
    """Where Wikipedia's API is; `{language}` stands for the code of a language."""

    url: str = _WIKIPEDIA
    allow_private: bool = False

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return _web(value)


class ToolsConfig(Part):
    """All of it.

    openapi: specifications whose operations are tools. mcp: servers; allow_commands: programs that may be started.
    workflows, agents: files of graphs and agents that are tools, by name.
    python: modules, or files of Python, with functions under `@tool`.
    credentials: fields of each, in the environment: `github: {token: {env: GITHUB_TOKEN}}`.
    approval: the first rule that fits a tool counts.
    """

    openapi: tuple[OpenAPISource, ...] = ()
    mcp: tuple[McpServer, ...] = ()
    allow_commands: tuple[str, ...] = ()
    workflows: dict[str, Path] = Field(default_factory=dict[str, Path])
    agents: dict[str, Path] = Field(default_factory=dict[str, Path])
    python: tuple[str, ...] = ()
    search: SearchEndpoint | None = None
    wikipedia: Wikipedia = Wikipedia()
    credentials: dict[str, dict[str, FromEnv]] = Field(default_factory=dict[str, dict[str, FromEnv]])
    approval: tuple[ApprovalRule, ...] = ()

    _source: Path | None = PrivateAttr(default=None)

    @field_validator("openapi", "mcp")
    @classmethod
    def _once(
        cls, value: tuple[OpenAPISource, ...] | tuple[McpServer, ...]
    ) -> tuple[OpenAPISource, ...] | tuple[McpServer, ...]:
        names = [one.id for one in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the id {twice[0]!r} comes twice; give one of them another")
        return value

    @field_validator("workflows", "agents")
    @classmethod
    def _named(cls, value: dict[str, Path], info: ValidationInfo) -> dict[str, Path]:
        if any(not name.strip() for name in value):
            raise ValueError(f"one of the {info.field_name} has no name")
        return value

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> ToolsConfig:
        """Read the file named by `PERDURE_TOOLS`; without one there are the built-in tools and those of packages.

        Raises:
            BadToolsFile: the file cannot be read, or is wrong; says where.
        """
        environ = os.environ if environ is None else environ
        path = environ.get(TOOLS_SETTING, "").strip()
        return cls.of_file(Path(path).expanduser()) if path else cls()

    @classmethod
    def of_file(cls, path: Path) -> ToolsConfig:
        """Read a file; the files that it names are found beside it.

        Raises:
            BadToolsFile: it cannot be read, or is wrong; says where.
        """
        try:
            reading = read_mapping(path)
            data = {key: value for key, value in reading.data.items() if not key.startswith("x-")}
            config = validated(cls, data, path, reading)
        except BadModelsFile as error:
            raise BadToolsFile(str(error).replace("docs/models.md", "docs/tools.md")) from None
        config._source = path
        return config

    @property
    def source(self) -> str:
        """Where it was read, for people."""
        return str(self._source) if self._source else f"a file named by {TOOLS_SETTING}"

    @property
    def folder(self) -> Path:
        """Where the files are that it names."""
        return self._source.parent if self._source else Path()

    def beside(self, path: Path | str) -> Path:
        """Find a file that it names."""
        return self.folder / Path(path).expanduser()


def _web(url: str) -> str:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise ValueError("the address holds a user or password; give a key under `headers` instead")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("it must be like https://host/path")
    return url


__all__ = ["TOOLS_SETTING", "BadToolsFile", "SearchEndpoint", "ToolsConfig", "Wikipedia"]
