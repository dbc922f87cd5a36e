"""Tools out of one specification."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure_graph.agents.config import ToolType

from ...files import FileStore, default_store
from ...net import Resolver, resolve
from ..protocol import Tool, ToolDeclaration
from .auth import unneeded
from .config import OpenAPISource, chosen, fits
from .document import read_document
from .operations import Found, Operations
from .problems import BadSpec, SeveralBad
from .shape import shape_of
from .tokens import Tokens
from .tool import SAFE, Credentials, OpenAPITool, Outside
from .weight import Weights

_log = logging.getLogger(__name__)
_WILD = ("*", "?", "[")


class OpenAPITools:
    """The operations of one specification (a `ToolSource`). The file is read when tools are first asked for.

    folder: that of the tools file. credentials: gives the fields of a credential by name, for the one that the source
        names; a call that brings secrets of its own is made with those.

    An operation that is wrong is left out and told in `problems`; where it was asked for by name, or where none is
    left, that is an error. A wrong schema within another is told there too, and allows anything.
    """

    provider_type: ToolType = "api"

    def __init__(
        self,
        source: OpenAPISource,
        folder: Path,
        *,
        files: FileStore | None = None,
        credentials: Credentials | None = None,
        environ: Mapping[str, str] | None = None,
        resolver: Resolver = resolve,
    ) -> None:
        self._source = source
        self._file = folder / Path(source.spec).expanduser()
        self._outside = Outside(
            source,
            files or default_store(),
            os.environ if environ is None else environ,
            resolver,
            Tokens(resolver),
            credentials,
        )
        self._tools: tuple[Tool, ...] | None = None
        self._reading = asyncio.Lock()
        self.problems: tuple[BadSpec, ...] = ()

    @property
    def provider_id(self) -> str:
        """Its name in the tools file."""
        return self._source.id

    async def tools(self) -> Sequence[Tool]:
        """Give its tools.

        Raises:
            ToolFault: the specification is wrong; says where.
        """
        async with self._reading:
            if self._tools is None:
                self._tools = await asyncio.to_thread(self._read)
            return self._tools

    async def close(self) -> None:
        """Let go of nothing: connections end with their calls."""

    def _read(self) -> tuple[Tool, ...]:
        document = read_document(self._file)
        operations, weights = Operations(document), Weights(document)
        tools: list[Tool] = []
        problems: list[BadSpec] = []
        for found in self._wanted(operations.found):
            try:
                tool, wrong = self._tool(operations, found, weights)
                tools.append(tool)
                problems += wrong
            except BadSpec as problem:
                if self._by_name(found):
                    raise
                problems.append(problem)
            except RecursionError:
                what = "its schemas lie too deep in each other."
                line = found.spot.line()
                problems.append(BadSpec(self._file.name, found.spot.path, line, what, "Leave it out of `operations`."))
        if not tools:
            raise problems[0] if len(problems) == 1 else SeveralBad(problems)
        self.problems = tuple({problem.message: problem for problem in problems}.values())
        for problem in self.problems:
            _log.warning("tools of %s: %s", self._source.id, problem.message)
        return tuple(tools)

    def _wanted(self, found: Sequence[Found]) -> list[Found]:
        globs = self._source.operations
        out = [glob[1:] for glob in globs if glob.startswith("!")]
        wanted = [glob for glob in globs if not glob.startswith("!")] or ["*"]
        for glob in wanted:
            if not any(fits(glob, one.name, one.method, one.path) for one in found):
                names = ", ".join(one.name for one in found[:20]) + (", ..." if len(found) > 20 else "")
                raise BadSpec(
                    self._file.name,
                    None,
                    None,
                    f"`operations` of {self._source.id!r} asks for {glob!r}, which no operation fits.",
                    f"There are {names}.",
                )
        return [
            one
            for one in found
            if any(fits(glob, one.name, one.method, one.path) for glob in wanted)
            and not any(fits(glob, one.name, one.method, one.path) for glob in out)
        ]

    def _by_name(self, found: Found) -> bool:
        named = [glob for glob in self._source.operations if not any(char in glob for char in _WILD)]
        return any(fits(glob, found.name, found.method, found.path) for glob in named)

    def _tool(self, operations: Operations, found: Found, weights: Weights) -> tuple[Tool, tuple[BadSpec, ...]]:
        source = self._source
        operation = operations.read(found, source.base_url, source.variables)
        shape = shape_of(operation, weights, unneeded(operation))
        said = (found.name, found.method, found.path)
        declaration = ToolDeclaration(
            provider_type="api",
            provider_id=source.id,
            name=found.name,
            label=operation.summary[:100] or found.name,
            description=shape.description,
            parameters=shape.parameters,
            retry=chosen(source.retry, *said) or ("safe" if operation.method in SAFE else "keyed"),
            approval=chosen(source.approval, *said) or "never",
            timeout_s=source.timeout_s,
            open=shape.layout.body is not None and shape.layout.body.open,
        )
        return OpenAPITool(declaration, operation, shape.layout, self._outside), shape.problems
