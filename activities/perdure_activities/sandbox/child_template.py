"""Handler of the template child: render Jinja2 in its sandbox. Loaded by `child_main.py` only.

Replies `{"text": text}` or `{"error": kind, "message": text}`. Semantics are those of a plain `jinja2.Template`:
undefined and the trailing newline vanish, None prints `None`. What is random (`random`, `lipsum`) is not there.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from jinja2 import Template, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment

_CACHED_CHARS = 1_000_000
_MESSAGE_CHARS = 2_000


class TooLong(Exception):
    """The text is longer than allowed."""


class Cache:
    """Compiled templates, the least recently used go first; bounded by the length of their sources."""

    def __init__(self, environment: SandboxedEnvironment) -> None:
        self._environment = environment
        self._templates: OrderedDict[str, Template] = OrderedDict()
        self._chars = 0

    def get(self, source: str) -> Template:
        """Compile a template, or give the one compiled before."""
        found = self._templates.get(source)
        if found is not None:
            self._templates.move_to_end(source)
            return found
        template = self._environment.from_string(source)
        if len(source) <= _CACHED_CHARS // 4:
            self._templates[source] = template
            self._chars += len(source) + 500
            while self._chars > _CACHED_CHARS:
                dropped, _ = self._templates.popitem(last=False)
                self._chars -= len(dropped) + 500
        return template


def _environment() -> SandboxedEnvironment:
    # Not the immutable one: authors fill lists with `append`, as plain Jinja lets them, and theirs are copies.
    environment = SandboxedEnvironment()
    environment.filters.pop("random")
    environment.globals.pop("lipsum")
    return environment


_cache = Cache(_environment())


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Render one template."""
    try:
        return {"text": _render(request["template"], request["variables"], request["max_chars"])}
    except TooLong:
        return {"error": "too_long", "message": f"the text is longer than {request['max_chars']} characters"}
    except MemoryError:
        # The heap of this process may be in pieces: let the next template have a fresh one.
        return {"error": "memory", "message": "rendering needs too much memory", "exit": True}
    except UnicodeEncodeError:
        return {"error": "failed", "message": "the text holds half of a surrogate pair, which is no character"}
    except TemplateSyntaxError as error:
        return {"error": "failed", "message": f"line {error.lineno}: {_reason(error)}"}
    except Exception as error:
        line = _line(error)
        return {"error": "failed", "message": (f"line {line}: " if line else "") + _reason(error)}


def _render(source: str, variables: dict[str, Any], max_chars: int) -> str:
    parts: list[str] = []
    length = 0
    for part in _cache.get(source).generate(variables):
        length += len(part)
        if length > max_chars:
            raise TooLong
        parts.append(part)
    text = "".join(parts)
    text.encode()
    return text


def _reason(error: Exception) -> str:
    try:
        detail = str(error)
    except Exception:
        detail = ""
    return f"{type(error).__name__}: {detail}"[:_MESSAGE_CHARS].encode("utf-8", "replace").decode()


def _line(error: Exception) -> int | None:
    line: int | None = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
