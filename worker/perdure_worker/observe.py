"""Logs of a worker: structlog on stderr, each line once also under replay, bound to run and activity."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger
from temporalio import activity, workflow
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["console", "json"]


def drop_replayed(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Drop what workflow code logs while it replays history: it was logged when it happened."""
    # Not `is_replaying()`: that is also true in queries and update validators, whose logs are new.
    if workflow.in_workflow() and workflow.unsafe.is_replaying_history_events():
        raise structlog.DropEvent
    return event


def configure_logging(level: Level, style: Format) -> None:
    """Set structlog and the standard library's loggers up, both on stderr."""
    number = logging.getLevelNamesMapping()[level.upper()]
    last: Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The pretty formatter prints local variables, and with them what users passed.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[drop_replayed, *shared, structlog.processors.format_exc_info, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=last, foreign_pre_chain=shared))
    logging.basicConfig(level=number, handlers=[handler], force=True)


class _BoundWorkflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        info = workflow.info()
        bind_contextvars(workflow_id=info.workflow_id, run_id=info.run_id)
        return await super().execute_workflow(input)


class _BoundActivity(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        with bound_contextvars(workflow_id=info.workflow_id, activity=info.activity_type, attempt=info.attempt):
            return await super().execute_activity(input)


class LogContext(Interceptor):
    """Bind run and activity to every log line written below."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap an activity."""
        return _BoundActivity(next)

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: ARG002 - the SDK's signature
    ) -> type[WorkflowInboundInterceptor]:
        """Wrap a workflow."""
        return _BoundWorkflow
