"""The client: start runs of graphs and agents, find runs, list runs."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph import naming
from perdure_graph.agents.effects import RunAgent
from perdure_graph.checks import check_runnable
from perdure_graph.errors import CommandRefused, InvalidInputs, PlatformError
from perdure_graph.graph import Graph
from perdure_graph.oversize import heaviest, over_limit
from perdure_graph.request import Pin, RunOptions, RunRequest, RunResult
from perdure_graph.step import check_request
from perdure_payloads import data_converter, value_limit

from .agents import AgentSource, agent_request, hash_of, read_agent
from .archive import Archive
from .dev_state import payloads_at
from .diff import RunDiff, diff_runs
from .handle import RunHandle

_GRAPH = SearchAttributeKey.for_keyword(naming.GRAPH_ATTRIBUTE)
_HASH = SearchAttributeKey.for_keyword(naming.GRAPH_HASH_ATTRIBUTE)
_STATUS = SearchAttributeKey.for_keyword(naming.STATUS_ATTRIBUTE)
_MEMO_REQUEST = "perdure_request"
_GRACE = timedelta(seconds=30)
# Smaller goes first; 3 is the server's default. Effects and child workflows inherit it.
_PRIORITIES = {"interactive": Priority(priority_key=3), "batch": Priority(priority_key=5)}


@dataclass(frozen=True, slots=True)
class _Shown:
    """What lists of runs show of what runs."""

    name: str
    hash: str
    details: str
    memo: dict[str, Any]


class RunSummary(BaseModel):
    """One line of a list of runs."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    graph: str
    status: str
    started_at: datetime
    closed_at: datetime | None


class Client:
    """Starts and finds runs on one Temporal namespace.

    task_timeout: how long a worker may take for one task of a run, 10 s where not given; a run whose worker was
        killed in the middle of a task waits for the rest of it.
    store: URL of the run store, that of the workers; by default `PERDURE_STORE`. Only what a run no longer keeps
        itself is read from it.
    """

    def __init__(
        self,
        temporal: TemporalClient,
        task_queue: str = naming.TASK_QUEUE,
        *,
        task_timeout: timedelta | None = None,
        store: str | None = None,
    ) -> None:
        self.temporal = temporal
        self.task_queue = task_queue
        self.task_timeout = task_timeout
        self._archive = Archive(store)

    @classmethod
    async def connect(
        cls,
        address: str = "127.0.0.1:7233",
        *,
        namespace: str = naming.NAMESPACE,
        task_queue: str = naming.TASK_QUEUE,
        task_timeout: timedelta | None = None,
        store: str | None = None,
        **options: Any,
    ) -> Self:
        """Connect to a Temporal server. `options` go to `temporalio.client.Client.connect` (tls, api_key, ...).

        Payloads are written as `PERDURE_BLOBS`, `PERDURE_KEYS` and the other settings of payloads say, unless
        `options` has a `data_converter`; workers must have the same ones. At the address of a running `perdure dev`
        its blobs are used.

        Raises:
            PlatformError: no server answers there.
        """
        options.setdefault("data_converter", data_converter(payloads_at(address)))
        try:
            temporal = await TemporalClient.connect(address, namespace=namespace, **options)
        except RuntimeError as error:
            raise PlatformError(
                f"no Temporal server answers at {address!r}. Start one with `perdure dev`, or give its "
                "address in PERDURE_ADDRESS."
            ) from error
        return cls(temporal, task_queue, task_timeout=task_timeout, store=store)

    async def start(
        self,
        graph: Graph,
        inputs: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        query: str | None = None,
        files: list[dict[str, Any]] | None = None,
        conversation: Mapping[str, Any] | None = None,
        conversation_id: str | None = None,
        sysvars: Mapping[str, Any] | None = None,
        pins: Mapping[str, Pin | Mapping[str, Any]] | None = None,
        user: str = "user",
        tenant: str = "",
        options: RunOptions | None = None,
    ) -> RunHandle:
        """Start a run. With the `run_id` of an equal run that exists, return that run instead of a second one.

        conversation_id: the conversation that a chatflow goes on with; models with memory are then told its earlier
            turns. A run without it begins one of its own, whose id is that of the run.
        tenant: on whose behalf; nodes with a cache of this scope share replies within it.

        Raises:
            InvalidGraph: a node cannot run here and is not pinned.
            InvalidInputs: an input is missing, wrong or too large.
            CommandRefused: `run_id` belongs to a run of another graph or other inputs.
        """
        request = _request(
            graph=graph.document,
            inputs=dict(inputs or {}),
            query=query,
            files=files or [],
            conversation=dict(conversation or {}),
            sysvars=({"conversation_id": conversation_id} if conversation_id else {}) | dict(sysvars or {}),
            pins=dict(pins or {}),
            user=user,
            tenant=tenant,
            options=options or RunOptions(),
        )
        return await self.start_request(graph, request, run_id)

    async def start_request(self, graph: Graph, request: RunRequest, run_id: str | None = None) -> RunHandle:
        """Start a run from a request that is complete, such as that of a fork; all else as in `start`."""
        request = request.model_copy(update={"options": self._fitting(request.options)})
        check_runnable(graph, request.pins)
        check_request(graph, request)
        # The digest goes before the count: the same start, given again, is the same although its turn counts by then.
        digest = _digest(request)
        nodes = len(graph.nodes)
        shown = _Shown(
            graph.name,
            graph.hash,
            f"{nodes} nodes, graph {graph.hash[:12]}",
            {
                "mode": graph.document.mode,
                "nodes": nodes,
                **({"forked_from": request.forked_from} if request.forked_from else {}),
            },
        )
        return await self._start(naming.WORKFLOW_TYPE, shown, await self._counted(request), run_id, digest)

    async def start_agent(
        self,
        agent: AgentSource,
        query: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        files: Sequence[Mapping[str, Any]] = (),
        user: str = "user",
        tenant: str = "",
        conversation_id: str | None = None,
        run_id: str | None = None,
        options: RunOptions | None = None,
    ) -> RunHandle:
        """Start an agent on its own. With the `run_id` of an equal run that exists, return that run instead.

        agent: its configuration, or the path or the text of its file (docs/agents.md).
        inputs: what stands for `{{name}}` in its instruction.
        conversation_id: the conversation that it goes on with, where its memory is enabled. A run without it begins
            one of its own, whose id is that of the run.

        Raises:
            InvalidAgent: the file cannot be loaded.
            InvalidInputs: an input is missing, wrong or too large.
            CommandRefused: `run_id` belongs to another run.
        """
        loaded = read_agent(agent)
        request = agent_request(
            loaded,
            query,
            inputs=inputs,
            files=files,
            user=user,
            tenant=tenant,
            conversation_id=conversation_id,
            options=self._fitting(options or RunOptions()),
        )
        config = loaded.config
        details = f"{len(config.tools)} tools, {config.model.provider}/{config.model.name}"
        shown = _Shown(config.name, hash_of(config), details, {"mode": "agent", "tools": len(config.tools)})
        return await self._start(naming.AGENT_TYPE, shown, request, run_id, _digest(request))

    async def _counted(self, request: RunRequest) -> RunRequest:
        """Say how many turns the conversation has with this one, where the store tells and the caller did not."""
        conversation = request.sysvars.get("conversation_id")
        if not isinstance(conversation, str) or "dialogue_count" in request.sysvars or not self._archive.configured:
            return request
        try:
            begun = await self._archive.turns_begun(conversation, request.tenant)
        except PlatformError:
            return request
        counted = {**request.sysvars, "dialogue_count": begun + 1}
        return request.model_copy(update={"sysvars": counted}) if begun else request

    def _fitting(self, options: RunOptions) -> RunOptions:
        """Lower the limit of values to what this client can carry."""
        limit = value_limit(self.temporal.data_converter, options.max_value_bytes)
        return options if limit == options.max_value_bytes else options.model_copy(update={"max_value_bytes": limit})

    async def _start(
        self, workflow: str, shown: _Shown, request: RunRequest | RunAgent, run_id: str | None, digest: str
    ) -> RunHandle:
        chosen = run_id or f"run-{uuid.uuid4()}"
        attributes = TypedSearchAttributes(
            [
                SearchAttributePair(_GRAPH, shown.name),
                SearchAttributePair(_HASH, shown.hash),
                SearchAttributePair(_STATUS, "running"),
            ]
        )
        try:
            await self.temporal.start_workflow(
                workflow,
                request,
                id=chosen,
                task_queue=self.task_queue,
                task_timeout=self.task_timeout,
                priority=_PRIORITIES[request.options.priority],
                execution_timeout=_execution_timeout(request.options),
                result_type=RunResult,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=attributes,
                memo={_MEMO_REQUEST: digest, "graph": shown.name, "user": request.user, **shown.memo},
                static_summary=shown.name,
                static_details=shown.details,
            )
        except WorkflowAlreadyStartedError:
            await self._same_request(chosen, digest)
        except RPCError as error:
            raise _explain_start(error) from error
        return self.run(chosen)

    async def _same_request(self, run_id: str, digest: str) -> None:
        described = await self.temporal.get_workflow_handle(run_id).describe()
        if await described.memo_value(_MEMO_REQUEST, default="") != digest:
            raise CommandRefused(
                f"run id {run_id!r} belongs to a run of another graph or agent or with other inputs; choose another id."
            )

    def run(self, run_id: str) -> RunHandle:
        """Address a run that exists."""
        workflow = self.temporal.get_workflow_handle(run_id, result_type=RunResult)
        return RunHandle(workflow, self.temporal, self._archive, self.task_queue)

    async def list(self, *, status: str | None = None, limit: int = 100) -> list[RunSummary]:
        """List runs, newest first. `status` is one of those of `RunResult`, or `running`, `pausing`, `paused`."""
        # Without those that are part of another run.
        query = f"WorkflowType IN ('{naming.WORKFLOW_TYPE}', '{naming.AGENT_TYPE}') AND ParentWorkflowId IS NULL"
        if status is not None:
            if not all(c.isalpha() or c == "-" for c in status):
                raise InvalidInputs(f"{status!r} is no status of a run", field="status")
            query += f" AND {naming.STATUS_ATTRIBUTE} = '{status}'"
        found: list[RunSummary] = []
        async for execution in self.temporal.list_workflows(query, limit=limit):
            attributes = execution.typed_search_attributes
            found.append(
                RunSummary(
                    run_id=execution.id,
                    graph=attributes.get(_GRAPH, ""),
                    status=_status(attributes.get(_STATUS, ""), execution.status),
                    started_at=execution.start_time,
                    closed_at=execution.close_time,
                )
            )
        return found

    async def diff(self, a: str, b: str, *, attempts: bool = False) -> RunDiff:
        """Say where two runs part: node by node, in the order in which they ended in the first.

        attempts: also tell nodes apart that only took another number of attempts.

        Raises:
            RunNotFound: one of them does not exist.
        """
        return await diff_runs(self.run(a), self.run(b), attempts=attempts)


def _execution_timeout(options: RunOptions) -> timedelta | None:
    """When the server itself ends a run that no worker ever takes: a little after the run would."""
    return None if options.deadline_s is None else timedelta(seconds=options.deadline_s) + _GRACE


def _request(**fields: Any) -> RunRequest:
    try:
        return RunRequest.model_validate(fields)
    except ValidationError as error:
        detail = error.errors()[0]
        field = ".".join(str(part) for part in detail["loc"])
        raise InvalidInputs(f"{field}: {detail['msg']}", field=field) from error


def _digest(request: RunRequest | RunAgent) -> str:
    text = request.model_dump_json().encode()
    if len(text) > request.options.max_value_bytes:
        sizes = over_limit(request, len(text), request.options.max_value_bytes)
        what = "agent" if isinstance(request, RunAgent) else "graph"
        raise InvalidInputs(
            f"{what} and inputs together have {sizes}. Pass large values as files.",
            field=heaviest(request) or "inputs",
        )
    return hashlib.sha256(text).hexdigest()


def _explain_start(error: RPCError) -> PlatformError:
    if error.status is RPCStatusCode.INVALID_ARGUMENT and "search attribute" in error.message:
        return PlatformError(
            f"the namespace lacks Perdure's search attributes ({error.message}). Register them: "
            + " ".join(
                f"`temporal operator search-attribute create --name {name} --type {kind}`"
                for name, kind in naming.SEARCH_ATTRIBUTES.items()
            )
        )
    return PlatformError(f"the Temporal server refused to start the run: {error.message}")


def _status(shown: str, execution: WorkflowExecutionStatus | None) -> str:
    """The run's own status, unless the workflow was ended from outside while that said otherwise."""
    match execution:
        case WorkflowExecutionStatus.TERMINATED | WorkflowExecutionStatus.TIMED_OUT:
            return execution.name.lower()
        case WorkflowExecutionStatus.CANCELED:
            return "stopped"
        case WorkflowExecutionStatus.FAILED:
            return "failed"
        case _:
            return shown or (execution.name.lower() if execution else "")
