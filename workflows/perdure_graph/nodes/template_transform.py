"""template-transform: render a Jinja2 template; a plain one is filled in place, others in a child process."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..effects import Rendered, RenderTemplate
from ..errors import NodeError
from ..plain_template import fill
from ..values import ValueType
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform


class NamedSelector(BaseModel):
    """A name given to a variable for use in a template or a snippet."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    variable: str = Field(min_length=1)
    value_selector: tuple[str, ...] = ()


class TemplateTransformData(NodeData):
    """Data of a template-transform."""

    type: Literal["template-transform"]
    template: str
    variables: tuple[NamedSelector, ...] = ()


def start(data: TemplateTransformData, ctx: Context) -> Outcome:
    """Fill a plain template, or ask for the rendering; a variable that does not exist is None."""
    variables = {v.variable: _value(v, ctx) for v in data.variables}
    text = fill(data.template, variables)
    if text is not None:
        return _done(text, variables, ctx)
    effect = RenderTemplate(template=data.template, variables=variables, max_chars=ctx.limits.text_chars)
    return Perform(effect=effect, inputs=variables)


def _value(variable: NamedSelector, ctx: Context) -> Any:
    value = ctx.get(variable.value_selector)
    return None if isinstance(value, Missing) else value


def resume(_data: TemplateTransformData, ctx: Context, reply: Rendered) -> Outcome:
    """Take the rendered text."""
    return _done(reply.text, {}, ctx)


def _done(text: str, inputs: dict[str, Any], ctx: Context) -> Done:
    most = ctx.limits.text_chars
    if len(text) > most:
        raise NodeError(f"Output length exceeds {most} characters", "ValueError")
    return Done(outputs={"output": text}, inputs=inputs)


def _outputs(_data: TemplateTransformData) -> dict[str, ValueType]:
    return {"output": ValueType.STRING}


NODE = NodeType(
    name="template-transform",
    data=TemplateTransformData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(RenderTemplate,),
)
