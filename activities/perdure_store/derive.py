"""What an event says about the rows derived from it. Pure: one event in, patches out.

A patch is a whole row; how it meets the row that is there is said once per table (`MERGES`), in terms that do not
depend on the order in which patches come: of two values that of the later event stays, or the smaller, or the greater.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from .database import plain, short

MAX_NAME = 500

Row = dict[str, Any]
Table = Literal["runs", "node_executions", "waits"]
ENDED = ("succeeded", "partial-succeeded", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Merge:
    """How a patch meets a row.

    latest: columns that belong to the event whose number is in the column they are listed under; the later one wins.
    final: where this column of the row is set, the first of those groups stays; a patch that sets it wins over others.
    """

    keys: tuple[str, ...]
    latest: Mapping[str, tuple[str, ...]]
    final: str | None = None
    least: tuple[str, ...] = ()
    greatest: tuple[str, ...] = ()


MERGES: Mapping[Table, Merge] = {
    "runs": Merge(
        keys=("id",),
        latest={
            "seq": (
                *("status", "outputs", "error", "error_type", "error_node"),
                *("finished_at", "elapsed", "steps", "exceptions"),
            ),
            "started_seq": (
                *("graph", "graph_hash", "user", "tenant", "inputs", "forked_from"),
                *("conversation_id", "query"),
            ),
        },
        final="finished_at",
        least=("started_at",),
        greatest=("last_seq", "last_position"),
    ),
    "node_executions": Merge(
        keys=("run_id", "scope", "frame", "node_id"),
        latest={
            "seq": (
                *("title", "type", "status", "inputs", "outputs", "handle", "error", "error_type"),
                *("finished_at", "elapsed", "cached", "reused"),
            )
        },
        greatest=("started_at", "attempts"),
    ),
    "waits": Merge(
        keys=("run_id", "scope", "key", "kind"),
        latest={
            "opened_seq": ("node_id", "title", "frame", "asked", "opened_at", "expires_at"),
            "closed_seq": ("closed_at", "how"),
        },
    ),
}


def text_of(event: Row, name: str) -> str:
    """Read a text of an event, as a text column can hold it."""
    value = event.get(name)
    return plain(value) if isinstance(value, str) else ""


def patches(run_id: str, scope: str, event: Row) -> Iterator[tuple[Table, Row]]:
    """Give what an event changes besides being recorded."""
    kind = event["type"]
    if not scope and (of_run := _run_patch(run_id, event)) is not None:
        yield "runs", of_run
    if kind in _NODE_STATUS or kind in ("node_finished", "iteration_completed", "loop_completed"):
        yield "node_executions", _node_patch(run_id, scope, event)
    if kind in _OPENS or kind in _CLOSES:
        yield "waits", _wait_patch(run_id, scope, event)


def new_run(run_id: str, flow: str, tenant: str) -> Row:
    """Give the row of a run of which nothing is recorded yet; a window may be heard of before its run."""
    return {
        "id": run_id,
        "graph": plain(flow)[:MAX_NAME],
        "graph_hash": "",
        "user": "",
        "tenant": plain(tenant),
        "inputs": None,
        "forked_from": None,
        "started_seq": 0,
        "status": "running",
        "outputs": None,
        "error": None,
        "error_type": None,
        "error_node": None,
        "finished_at": None,
        "elapsed": None,
        "steps": 0,
        "exceptions": 0,
        "seq": 0,
        "started_at": None,
        "last_seq": 0,
        "last_position": 0,
        "conversation_id": "",
        "query": "",
    }


def _run_patch(run_id: str, event: Row) -> Row | None:
    kind, seq = event["type"], event["seq"]
    row = new_run(run_id, "", "")
    match kind:
        case "run_started":
            return row | {
                "graph": text_of(event, "graph")[:MAX_NAME],
                "graph_hash": text_of(event, "graph_hash"),
                "user": text_of(event, "user"),
                "tenant": text_of(event, "tenant"),
                "inputs": event.get("inputs") or {},
                "forked_from": text_of(event, "forked_from") or None,
                "started_seq": seq,
                "seq": seq,
                **_turn(run_id, event),
            }
        case "run_paused":
            return row | {"status": "paused", "seq": seq}
        case "run_resumed":
            return row | {"status": "running", "seq": seq}
        case "run_finished":
            return row | {
                "status": text_of(event, "status"),
                "outputs": event.get("outputs") or {},
                "error": text_of(event, "error") or None,
                "error_type": text_of(event, "error_type") or None,
                "error_node": text_of(event, "node_id") or None,
                "finished_at": event["at"],
                "elapsed": event.get("elapsed"),
                "steps": event.get("steps") or 0,
                "exceptions": event.get("exceptions_count") or 0,
                "seq": seq,
            }
        case _:
            return None


def _turn(run_id: str, event: Row) -> Row:
    """Say which turn of a conversation a run is: one that names none begins its own."""
    asked = _object(event.get("asked"))
    given = _object(asked.get("sysvars"))
    query = text_of(given, "query") or text_of(asked, "query")
    conversation = text_of(given, "conversation_id") or (run_id if query else "")
    return {"conversation_id": short(conversation), "query": query}


def _object(value: Any) -> Row:
    return cast("Row", value) if isinstance(value, dict) else {}


_NODE_STATUS = {
    "node_started": "running",
    "iteration_started": "running",
    "loop_started": "running",
    "node_retry": "retrying",
    "node_held": "held",
    "node_released": "running",
    "human_input_required": "waiting",
    "human_input_form_filled": "running",
    "human_input_form_timeout": "running",
}


def _node_patch(run_id: str, scope: str, event: Row) -> Row:
    kind = event["type"]
    row: Row = {
        "run_id": run_id,
        "scope": scope,
        "frame": text_of(event, "frame"),
        "node_id": text_of(event, "node_id"),
        "title": text_of(event, "title"),
        "type": text_of(event, "node_type"),
        "status": _NODE_STATUS.get(kind, ""),
        "inputs": None,
        "outputs": None,
        "handle": None,
        "error": text_of(event, "error") or None,
        "error_type": text_of(event, "error_type") or None,
        "started_at": None,
        "finished_at": None,
        "elapsed": None,
        "attempts": 1,
        "cached": False,
        "reused": False,
        "seq": event["seq"],
    }
    match kind:
        case "node_started" | "iteration_started" | "loop_started":
            return row | {"started_at": event["at"]}
        case "node_retry":
            return row | {"attempts": event["retry_index"] + 1}
        case "node_finished" | "iteration_completed" | "loop_completed":
            elapsed = event.get("elapsed") or 0.0
            return row | {
                "status": text_of(event, "status"),
                "inputs": event.get("inputs") or {},
                "outputs": event.get("outputs") or {},
                "handle": text_of(event, "handle") or None,
                "started_at": event["at"] - round(elapsed * 1000),
                "finished_at": event["at"],
                "elapsed": elapsed,
                "attempts": event.get("attempts") or 1,
                "cached": bool(event.get("cached")),
                "reused": bool(event.get("reused")),
            }
        case _:
            return row


_OPENS = {"human_input_required": "form", "node_held": "held"}
_CLOSES = {
    "human_input_form_filled": ("form", "submitted"),
    "human_input_form_timeout": ("form", "timeout"),
    "node_released": ("held", "retried"),
}


def _wait_patch(run_id: str, scope: str, event: Row) -> Row:
    kind = event["type"]
    row: Row = {
        "run_id": run_id,
        "scope": scope,
        "key": text_of(event, "key"),
        "kind": "",
        "node_id": text_of(event, "node_id"),
        "title": text_of(event, "title"),
        "frame": text_of(event, "frame"),
        "asked": None,
        "opened_at": None,
        "expires_at": None,
        "opened_seq": 0,
        "closed_at": None,
        "how": None,
        "closed_seq": 0,
    }
    if kind in _OPENS:
        asked = event.get("form") if kind == "human_input_required" else _held(event)
        opened: Row = {"asked": asked, "opened_at": event["at"], "expires_at": event.get("expires_at")}
        return row | opened | {"kind": _OPENS[kind], "opened_seq": event["seq"]}
    of, how = _CLOSES[kind]
    if kind == "node_released" and event.get("given"):
        how = "given"
    return row | {"kind": of, "closed_at": event["at"], "how": how, "closed_seq": event["seq"]}


def _held(event: Row) -> Row:
    return {name: event.get(name) for name in ("reason", "error", "error_type")}
