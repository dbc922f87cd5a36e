"""code: run a snippet's `main` in a sandbox and check what it returned against the declared outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, field_validator

from ..effects import CodeResult, RunCode
from ..errors import NodeError
from ..options import ValueLimits
from ..values import DataType, ValueType
from .base import Context, Done, Missing, NodeData, NodeType, Outcome, Perform
from .template_transform import NamedSelector

MAX_NUMBER = 2**63 - 1
MAX_DIGITS = 20
MAX_DEPTH = 5
DIFY_ITEMS = {"array[string]": 30, "array[object]": 30, "array[number]": 1000}


class CodeOutput(BaseModel):
    """A declared output; `children` declares what is inside an object."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: DataType
    children: dict[str, CodeOutput] | None = None


class CodeData(NodeData):
    """Data of a code node."""

    type: Literal["code"]
    code_language: Literal["python3", "javascript"]
    code: str
    variables: tuple[NamedSelector, ...] = ()
    outputs: dict[str, CodeOutput]

    @field_validator("code_language", mode="before")
    @classmethod
    def _known_language(cls, value: object) -> object:
        if value not in ("python3", "javascript"):
            raise ValueError(f"code runs in python3 or javascript, not in {value!r}")
        return value


def start(data: CodeData, ctx: Context) -> Outcome:
    """Ask for the run of the snippet; a variable that does not exist is null."""
    inputs = {v.variable: _input(v, ctx) for v in data.variables}
    limits = ctx.limits
    effect = RunCode(
        language=data.code_language,
        code=data.code,
        inputs=inputs,
        memory_mb=limits.code_memory_mb,
        max_output_bytes=limits.code_output_bytes,
    )
    return Perform(effect=effect, inputs=inputs)


def _input(variable: NamedSelector, ctx: Context) -> Any:
    value = ctx.get(variable.value_selector)
    if isinstance(value, Missing):
        return None
    if value == [] and ctx.type_of(variable.value_selector) is ValueType.ARRAY_FILE:
        return None
    return value


def resume(data: CodeData, ctx: Context, reply: CodeResult) -> Outcome:
    """Check the result."""
    return Done(outputs=check_outputs(reply.result, data.outputs, ctx.limits))


def check_outputs(
    result: Any,
    declared: Mapping[str, CodeOutput],
    limits: ValueLimits = ValueLimits(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Check what `main` returned against the declared outputs and bring it into shape.

    Raises:
        NodeError: an output is missing, not declared, of another type, too long or too deep.
    """
    if not isinstance(result, dict):
        raise NodeError(f"Result must be a dict, got {type(result).__name__}", "CodeNodeError")
    return _check_object(cast("dict[str, Any]", result), declared, "", 1, limits)


def _check_object(
    values: dict[str, Any], declared: Mapping[str, CodeOutput] | None, path: str, depth: int, limits: ValueLimits
) -> dict[str, Any]:
    _check_depth(depth)
    if declared is None:
        for name, value in values.items():
            _check_undeclared(value, _join(path, name), depth, limits)
        return values
    checked: dict[str, Any] = {}
    for name, output in declared.items():
        if name not in values:
            raise _invalid(f"Output {_join(path, name)} is missing.")
        checked[name] = _check(values[name], output, _join(path, name), depth, limits)
    if len(checked) != len(values):
        raise NodeError("Not all output parameters are validated.", "CodeNodeError")
    return checked


def _check(value: Any, output: CodeOutput, path: str, depth: int, limits: ValueLimits) -> Any:
    if value is None:
        return None
    if output.type.startswith("array["):
        return _check_array(value, output, path, depth, limits)
    return _check_scalar(value, output, path, depth, limits)


def _check_scalar(value: Any, output: CodeOutput, path: str, depth: int, limits: ValueLimits) -> Any:
    match output.type:
        case "string":
            if not isinstance(value, str):
                raise _invalid(f"Output {path} must be a string, got {_kind(value)} instead.")
            return _text(value, path, limits)
        case "number":
            if not isinstance(value, int | float):
                raise _invalid(f"Output {path} is not a number, got {_kind(value)} instead.")
            return _number(value, path)
        case "boolean":
            # Dify checks the items of an array[boolean], but takes anything for a boolean.
            return value
        case _:
            if not isinstance(value, dict):
                raise _invalid(f"Output {path} is not an object, got {_kind(value)} instead.")
            return _check_object(cast("dict[str, Any]", value), output.children, path, depth + 1, limits)


def _check_array(value: Any, output: CodeOutput, path: str, depth: int, limits: ValueLimits) -> list[Any]:
    if not isinstance(value, list):
        raise _invalid(f"Output {path} is not an array, got {_kind(value)} instead.")
    items = cast("list[Any]", value)
    limit = limits.list_items or DIFY_ITEMS.get(output.type)
    if limit is not None and len(items) > limit:
        raise _invalid(f"The length of output variable `{path}` must be less than {limit} elements.")
    return [_check_item(item, output, path, index, depth, limits) for index, item in enumerate(items)]


def _check_item(item: Any, output: CodeOutput, path: str, index: int, depth: int, limits: ValueLimits) -> Any:
    at = f"{path}[{index}]"
    if output.type == "array[number]":
        if not isinstance(item, int | float):
            raise _invalid(f"The element at index {index} of output variable `{path}` must be a number.")
        return _number(item, at)
    if item is None:
        return None
    if output.type == "array[object]" and not isinstance(item, dict):
        raise _invalid(f"Output {at} is not an object, got {_kind(item)} instead at index {index}.")
    if output.type == "array[boolean]" and not isinstance(item, bool):
        raise _invalid(f"Output {at} is not a boolean, got {_kind(cast('object', item))} instead.")
    item_type = cast("DataType", output.type[6:-1])
    return _check_scalar(item, CodeOutput(type=item_type, children=output.children), at, depth, limits)


def _check_undeclared(value: Any, path: str, depth: int, limits: ValueLimits) -> None:
    """Check the inside of an object without `children`: sizes and depth, and that arrays are of one type."""
    match value:
        case bool() | None:
            return
        case int() | float():
            _number(value, path)
        case str():
            _text(value, path, limits)
        case dict():
            _check_object(cast("dict[str, Any]", value), None, path, depth + 1, limits)
        case list():
            _check_undeclared_array(cast("list[Any]", value), path, depth, limits)
        case _:
            raise _invalid(f"Output {path} is not a valid type.")


def _check_undeclared_array(items: list[Any], path: str, depth: int, limits: ValueLimits) -> None:
    present = [item for item in items if item is not None]
    if not present or items[0] is None:
        return
    if not any(all(isinstance(item, kind) for item in present) for kind in (int | float, str, dict, list)):
        raise _invalid(f"Output {path} is not a valid array. make sure all elements are of the same type.")
    for index, item in enumerate(items):
        if isinstance(item, list):
            _check_depth(depth + 1)
            _check_undeclared_array(cast("list[Any]", item), f"{path}[{index}]", depth + 1, limits)
        else:
            _check_undeclared(item, f"{path}[{index}]", depth, limits)


def _text(value: str, path: str, limits: ValueLimits) -> str:
    if len(value) > limits.text_chars:
        raise _invalid(f"The length of output variable `{path}` must be less than {limits.text_chars} characters")
    return value.replace("\x00", "")


def _number(value: float, path: str) -> int | float:
    # Negated, so that nan (in no range) is refused too.
    if not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise _invalid(f"Output variable `{path}` is out of range, it must be between {-MAX_NUMBER} and {MAX_NUMBER}.")
    if isinstance(value, float) and _decimals(value) > MAX_DIGITS:
        raise _invalid(f"Output variable `{path}` has too high precision, it must be less than {MAX_DIGITS} digits.")
    return int(value) if isinstance(value, bool) else value


def _decimals(value: float) -> int:
    """Count digits after the decimal point."""
    mantissa, _, exponent = repr(value).partition("e")
    fraction = mantissa.partition(".")[2].rstrip("0")
    return max(0, len(fraction) - int(exponent or 0))


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NodeError(f"Depth limit {MAX_DEPTH} reached, object too deep.", "DepthLimitError")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: object) -> str:
    return type(value).__name__


def _invalid(message: str) -> NodeError:
    return NodeError(message, "OutputValidationError")


def _outputs(data: CodeData) -> dict[str, ValueType]:
    return {name: ValueType(output.type) for name, output in data.outputs.items()}


NODE = NodeType(
    name="code",
    data=CodeData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(RunCode,),
    retries=True,
)
