"""Where an operator's file is wrong: the file, the place in it, the next step."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from perdure_graph.errors import InvalidGraph, PlatformError
from perdure_graph.yaml_reader import Reading, read

Model = TypeVar("Model", bound=BaseModel)

# What pydantic puts into a location to say which member of a union it tried; no part of the file.
_INNER = ("function-", "constrained-", "lax-or-strict", "nullable", "tuple[", "list[", "dict[")


class BadModelsFile(PlatformError):
    """A file about models cannot be used. Says the file, the place, what is wrong and what to do."""

    code: ClassVar[str] = "bad_models_file"
    retryable: ClassVar[bool] = False


class UnknownProvider(PlatformError):
    """No file declares the provider, or none of its deployments is configured."""

    code: ClassVar[str] = "unknown_provider"
    retryable: ClassVar[bool] = False


def read_mapping(path: Path) -> Reading:
    """Read a file that must hold one mapping.

    Raises:
        BadModelsFile: it cannot be read, or holds something else.
    """
    try:
        reading = read(path.read_bytes(), plain_keys=True)
    except OSError as error:
        raise BadModelsFile(f"{path}: the file cannot be read ({error.strerror}). Correct its path.") from error
    except InvalidGraph as error:
        found = error.findings[0] if error.findings else None
        place = f"{path}:{found.line}" if found and found.line else str(path)
        raise BadModelsFile(f"{place}: {found.message if found else error} Correct the file.") from error
    if not isinstance(reading.data, dict):
        raise BadModelsFile(f"{path}: the file must hold a mapping of names to values. See docs/models.md.")
    return reading


def validated(kind: type[Model], data: Any, path: Path, reading: Reading | None, at: Sequence[str | int] = ()) -> Model:
    """Check data that stands at `at` in a file.

    Raises:
        BadModelsFile: says the first thing that is wrong, and how many more there are.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise BadModelsFile(_said(details, kind, path, reading, at)) from None


def _said(
    details: list[ErrorDetails], kind: type[BaseModel], path: Path, reading: Reading | None, at: Sequence[str | int]
) -> str:
    first = details[0]
    place = [*at, *(part for part in first["loc"] if not _is_inner(part))]
    line = reading.line_of(place) if reading is not None else None
    where = f"{path}:{line}" if line is not None else str(path)
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".") or "the file"
    more = f" ({len(details) - 1} more problems after it.)" if len(details) > 1 else ""
    return f"{where}: `{shown}`: {_reason(first, kind)}{more}"


def _is_inner(part: str | int) -> bool:
    return isinstance(part, str) and part.startswith(_INNER)


def _reason(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            near = get_close_matches(str(detail["loc"][-1]), _names(kind, set()), 1)
            hint = f" Is `{near[0]}` meant?" if near else ""
            return f"there is no such field.{hint} Correct its name or delete it."
        case "missing":
            return "it is missing. Add it."
        case _:
            said = detail["msg"].removeprefix("Value error, ").rstrip(".")
            return f"{said[:1].lower() + said[1:]}. Correct it."


def _names(kind: Any, seen: set[Any]) -> list[str]:
    """Give the names of all fields of a model and of those in it."""
    if kind in seen:
        return []
    seen.add(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        inner = [name for _, field in fields for name in _names(field.annotation, seen)]
        return [*(field.alias or name for name, field in fields), *inner]
    return [name for part in get_args(kind) if part.__hash__ is not None for name in _names(part, seen)]


def mapping(value: Any) -> dict[str, Any]:
    """Give a mapping, empty when it is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
