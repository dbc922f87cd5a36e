"""What a worker runs: our workflows and activities, and what other distributions registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from perdure_graph.errors import PlatformError
from perdure_graph.naming import ACTIVITY_PLUGINS, NODE_PLUGINS

Activity = Callable[..., Any]

# Passed into the workflow sandbox by name, never through `imports_passed_through()`: what these import lazily
# would else be imported inside a workflow task, under its 2 s limit and behind Python's import lock.
PASSED_THROUGH = (
    "perdure_graph",
    "perdure_workflows",
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
    "yaml",
    "json_repair",
    "jsonschema",
    "jsonschema_specifications",
    "referencing",
    "rpds",
    "attr",
    "attrs",
    "structlog",
)


def workflows() -> list[type]:
    """Give the workflow classes, ours."""
    from perdure_workflows import WORKFLOWS

    return list(WORKFLOWS)


def activities() -> list[Activity]:
    """Give all activities: ours, then those of the entry points `perdure.activities`, in sorted order.

    Raises:
        PlatformError: an entry point does not load, is no activity, or takes a name that is taken.
    """
    from perdure_activities import ACTIVITIES

    found: list[Activity] = list(ACTIVITIES)
    taken = {activity_name(each): "perdure" for each in found}
    for point in _sorted_points(ACTIVITY_PLUGINS):
        for each in _loaded(point):
            name = activity_name(each)
            if name in taken:
                raise PlatformError(
                    f"Entry point {_title(point)} registers the activity {name!r}, which {taken[name]} has "
                    "already registered. Rename one of them or uninstall one of the packages."
                )
            taken[name] = _title(point)
            found.append(each)
    return found


def activity_name(each: Activity) -> str:
    """Give the name under which Temporal knows an activity.

    Raises:
        PlatformError: the callable was not decorated with `@activity.defn`.
    """
    definition = getattr(each, "__temporal_activity_definition", None)
    if definition is None:
        where = f"{getattr(each, '__module__', '?')}.{getattr(each, '__qualname__', repr(each))}"
        raise PlatformError(f"{where} is not an activity: decorate it with `@temporalio.activity.defn`.")
    return str(definition.name or "")


def passthrough_modules() -> list[str]:
    """Give the modules to pass into the sandbox: the core, its libraries, every package of node plug-ins."""
    packages = {point.module.partition(".")[0] for point in _sorted_points(NODE_PLUGINS)}
    return sorted({*PASSED_THROUGH, *packages})


def warm(modules: Iterable[str]) -> None:
    """Import modules now, so that no workflow task waits for an import.

    Raises:
        PlatformError: one does not import.
    """
    for name in modules:
        try:
            import_module(name)
        except Exception as error:
            raise PlatformError(
                f"The module {name!r} cannot be imported by the worker ({type(error).__name__}: {error}). "
                "Reinstall the package or uninstall the plug-in."
            ) from error


def _sorted_points(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))


def _loaded(point: EntryPoint) -> Sequence[Activity]:
    try:
        value = point.load()
    except Exception as error:
        raise PlatformError(
            f"Entry point {_title(point)} does not load ({type(error).__name__}: {error}). "
            "Reinstall or uninstall its package."
        ) from error
    many: list[object] = [*cast("Sequence[object]", value)] if isinstance(value, list | tuple) else [value]
    for each in many:
        if not callable(each):
            raise PlatformError(
                f"Entry point {_title(point)} of group {ACTIVITY_PLUGINS!r} gives {each!r}; it must give an "
                "activity or a list of activities."
            )
    return cast("Sequence[Activity]", many)


def _title(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "unknown package"
    return f"{point.name!r} ({package}: {point.value})"


__all__ = ["activities", "activity_name", "passthrough_modules", "warm", "workflows"]
