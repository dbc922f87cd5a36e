"""Read docstrings: what a function does, and what its parameters are."""

from __future__ import annotations

import inspect
import re

_SECTIONS = "args arguments parameters params return returns yield yields raises example examples note notes attributes"
_SECTION = re.compile(rf"^({'|'.join(_SECTIONS.split())}):\s*$", re.IGNORECASE)
_PARAMETERS = frozenset({"args", "arguments", "parameters", "params"})
_NAMED = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_FIELD = re.compile(r"^:(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+):\s*(.*)$")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """Give the description, and what is said of each parameter (`Args:` of Google, `:param x:` of Sphinx)."""
    about: list[str] = []
    parameters: dict[str, list[str]] = {}
    section, name, indent = "", "", 0
    for line in inspect.cleandoc(text or "").splitlines():
        bare = line.strip()
        outside = line[:1].strip() != ""
        if outside and (found := _SECTION.match(line)):
            section, name, indent = found[1].lower(), "", 0
        elif outside and line.startswith(":"):
            section, name = "fields", ""
            if found := _FIELD.match(line):
                name = found[1]
                parameters[name] = [found[2]]
        elif section in _PARAMETERS and bare:
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            if depth <= indent and (found := _NAMED.match(bare)):
                name = found[1]
                parameters[name] = [found[2]]
            elif name:
                parameters[name].append(bare)
        elif section == "fields" and name and bare:
            parameters[name].append(bare)
        elif not section:
            about.append(line)
    return "\n".join(about).strip(), {key: " ".join(filter(None, lines)) for key, lines in parameters.items()}
