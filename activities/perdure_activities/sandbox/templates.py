"""Render templates in persistent child processes."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from perdure_graph.effects import RenderTemplate

from .child import ChildSpec, ReplyTooLarge
from .failures import ChildCrashed, SandboxFailure
from .pool import ChildPool

_ADDRESS_BYTES = 512 * 1024 * 1024
# A character takes up to six bytes on its way (`\u0001`), and errors take room too.
_BYTES_PER_CHAR = 6
_ERROR_BYTES = 65_536


@cache
def template_spec() -> ChildSpec:
    """Describe the template child.

    Raises:
        SandboxFailure: Jinja2 is not installed.
    """
    folders: list[str] = []
    for package in ("jinja2", "markupsafe"):
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise SandboxFailure(
                "CodeSandboxError", f"templates need the package {package}; install `perdure[worker]` on the worker"
            )
        folders.append(str(Path(found.origin).parent))
    limits = {"AS": _ADDRESS_BYTES, "FSIZE": 0, "NOFILE": 64, "CORE": 0}
    return ChildSpec("child_template.py", limits, tuple(folders))


async def render(pool: ChildPool, request: RenderTemplate) -> str:
    """Render a template.

    Raises:
        SandboxFailure: the template cannot be rendered.
        ChildCrashed: two processes in turn were killed from outside.
    """
    reply, fresh = await _ask(pool, request)
    if not fresh and (reply is None or reply.get("error") == "memory"):
        # What an earlier template left behind in that process is not this one's fault.
        reply, fresh = await _ask(pool, request)
    if reply is None:
        raise ChildCrashed("the template process ended without an answer")
    text = reply.get("text")
    if isinstance(text, str) and len(text) <= request.max_chars:
        return text
    raise SandboxFailure("TemplateError", str(reply.get("message", "the template process wrote no text")))


async def _ask(pool: ChildPool, request: RenderTemplate) -> tuple[dict[str, object] | None, bool]:
    """Ask a child; None is a child that died. Also say whether the child was a fresh one."""
    fields = request.model_dump(include={"template", "variables", "max_chars"})
    max_reply = _BYTES_PER_CHAR * request.max_chars + _ERROR_BYTES
    fresh = True
    try:
        async with pool.lend(template_spec(), keep=True) as child:
            fresh = child.served == 0
            return await child.exchange(fields, timeout_s=request.timeout_s, max_reply=max_reply), fresh
    except TimeoutError:
        raise SandboxFailure(
            "TemplateTimeoutError", f"the template did not finish within {request.timeout_s:g} s; shorten its loops"
        ) from None
    except ReplyTooLarge:
        raise SandboxFailure("TemplateError", f"the text is longer than {request.max_chars} characters") from None
    except ChildCrashed:
        return None, fresh
