"""The activity behind template nodes."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

from perdure_graph.effects import Rendered, RenderTemplate

from .failures import user_failure
from .heartbeat import heartbeats
from .sandbox import ChildCrashed, SandboxFailure, render_text


@activity.defn(name="render_template")
async def render_template(request: RenderTemplate) -> Rendered:
    """Render a Jinja2 template in a killable child process.

    Raises:
        ApplicationError: `TemplateError` or `TemplateTimeoutError`, not retryable; `TemplateSandboxCrashed`, which
            is.
    """
    try:
        async with heartbeats():
            return Rendered(text=await render_text(request))
    except SandboxFailure as failure:
        raise user_failure(failure.message, failure.error_type) from None
    except ChildCrashed as crash:
        raise ApplicationError(str(crash), type="TemplateSandboxCrashed") from None
