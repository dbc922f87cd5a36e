"""Python functions as tools.

    @tool
    def add(a: int, b: Annotated[int, Field(description="What to add")] = 1) -> int:
        "Add two numbers."

The types of the parameters become the schema, the docstring becomes the description. Functions that are not async run
in a thread. A module with such functions is named under `python` of the tools file, or by an entry point of the group
`perdure.tools`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, cast, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, Field, JsonValue, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError, PydanticUndefined, to_jsonable_python

from perdure_graph.agents.config import Approval, ToolType
from perdure_graph.agents.tools import FileOut, Interrupted, JsonOut, LinkOut, TextOut, ToolPart, VariableOut
from perdure_graph.options import RetryClass

from ..files import default_store
from .docstrings import read_docstring
from .protocol import ToolCallContext, ToolDeclaration, ToolFault, ToolParameter
from .schema import declared

_PARTS = (TextOut, JsonOut, LinkOut, FileOut, VariableOut)


class Secret:
    """Marks a parameter that is filled from the tool's credential: `key: Annotated[str, Secret()]`."""


class Setting:
    """Marks a parameter that whoever sets the agent up fills, never the model: `unit: Annotated[str, Setting()]`."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a function gives; it is stored, and the user gets it."""

    content: bytes
    filename: str = ""
    mime_type: str = ""


class FunctionTool:
    """A function as a tool; calling it calls the function."""

    def __init__(
        self,
        function: Callable[..., Any],
        declaration: ToolDeclaration,
        arguments: type[BaseModel],
        settings: type[BaseModel],
        secrets: Sequence[str],
        context: str | None,
    ) -> None:
        self._function = function
        self._declaration = declaration
        self._arguments = arguments
        self._settings = settings
        self._secrets = tuple(secrets)
        self._context = context
        self.__doc__ = function.__doc__
        self.__name__ = declaration.name

    @property
    def declaration(self) -> ToolDeclaration:
        """What it is."""
        return self._declaration

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self._function(*args, **kwargs)

    def provided_by(self, provider_type: ToolType, provider_id: str) -> FunctionTool:
        """Give the same tool as one of another provider."""
        changed = {"provider_type": provider_type, "provider_id": provider_id}
        declaration = self._declaration.model_copy(update=changed)
        return FunctionTool(self._function, declaration, self._arguments, self._settings, self._secrets, self._context)

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        """Call the function with values of its types, and make parts of what it gives.

        Raises:
            ToolFault: a value is not of its type, a secret is missing, or the function failed.
        """
        given = {**_typed(self._arguments, arguments), **_typed(self._settings, settings)}
        given |= {name: self._secret(name, context) for name in self._secrets}
        if self._context is not None:
            given[self._context] = context
        try:
            if inspect.iscoroutinefunction(self._function):
                result = await self._function(**given)
            else:
                result = await asyncio.to_thread(self._function, **given)
        except ToolFault:
            raise
        except Exception as error:
            raise ToolFault("invoke", f"{type(error).__name__}: {error}") from error
        return await parts_of(result)

    def _secret(self, name: str, context: ToolCallContext) -> str:
        if value := context.secrets.get(name):
            return value
        raise ToolFault(
            "credentials",
            f"the tool {self._declaration.name!r} needs {name!r}. Give it as a field of a credential in the worker's "
            "tools file, and name that credential where the tool is used.",
        )


@overload
def tool(function: Callable[..., Any], /) -> FunctionTool: ...


@overload
def tool(
    *,
    name: str | None = None,
    provider: str | None = None,
    label: str = "",
    description: str | None = None,
    retry: RetryClass = "keyed",
    interrupted: Interrupted = "ask",
    approval: Approval = "never",
    sequential: bool = False,
    timeout_s: float = 60.0,
) -> Callable[[Callable[..., Any]], FunctionTool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    provider: str | None = None,
    label: str = "",
    description: str | None = None,
    retry: RetryClass = "keyed",
    interrupted: Interrupted = "ask",
    approval: Approval = "never",
    sequential: bool = False,
    timeout_s: float = 60.0,
) -> FunctionTool | Callable[[Callable[..., Any]], FunctionTool]:
    """Make a tool of a function. A parameter annotated with `ToolCallContext` gets the context of the call.

    provider: id under which graphs and agents name it; the last part of its module's name by default.
    description: for the model; that of the docstring by default.
    retry: `safe` if calling it again changes nothing, `keyed` if it makes use of the context's key, `never` if it
        must not be called again after a crash; `interrupted` then says whether somebody is asked what became of the
        call, or the model is told that nobody knows.
    approval: whether a person must say yes. sequential: not beside other calls of the same round.

    Raises:
        TypeError: a parameter has no type that JSON has, or no name.
    """

    def made(function: Callable[..., Any]) -> FunctionTool:
        about, said = read_docstring(function.__doc__)
        signature = _read(function, said)
        declaration = ToolDeclaration(
            provider_type="custom",
            provider_id=provider or function.__module__.rpartition(".")[2],
            name=name or function.__name__,
            label=label,
            description=about if description is None else description,
            parameters=signature.parameters(),
            retry=retry,
            interrupted=interrupted,
            approval=approval,
            sequential=sequential,
            timeout_s=timeout_s,
        )
        return FunctionTool(
            function, declaration, signature.arguments, signature.settings, signature.secrets, signature.context
        )

    return made if function is None else made(function)


@dataclass(frozen=True, slots=True)
class _Signature:
    arguments: type[BaseModel]
    settings: type[BaseModel]
    secrets: tuple[str, ...]
    context: str | None

    def parameters(self) -> tuple[ToolParameter, ...]:
        asked = declared(self.arguments.model_json_schema())
        settings = [each.model_copy(update={"form": "form"}) for each in declared(self.settings.model_json_schema())]
        secrets = [ToolParameter(name=name, type="secret-input", form="form", required=True) for name in self.secrets]
        return (*asked, *settings, *secrets)


def _read(function: Callable[..., Any], said: Mapping[str, str]) -> _Signature:
    where = f"{function.__module__}.{function.__qualname__}"
    hints = get_type_hints(function, include_extras=True)
    asked: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    secrets: list[str] = []
    context: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(
                f"{where}: the parameter {name!r} has no name in a call; a tool takes named parameters only."
            )
        hint = hints.get(name, Any)
        marks = [mark if isinstance(mark, type) else type(mark) for mark in getattr(hint, "__metadata__", ())]
        if hint is ToolCallContext:
            context = name
        elif Secret in marks:
            secrets.append(name)
        else:
            fields = settings if Setting in marks else asked
            default = PydanticUndefined if parameter.default is parameter.empty else parameter.default
            described = Annotated[hint, Field(description=said[name])] if _is_silent(hint) and name in said else hint
            # A field may not be named like a method of models, a parameter may.
            fields[f"p{len(fields)}"] = (described, Field(default, alias=name))
    try:
        return _Signature(_model(asked), _model(settings), tuple(secrets), context)
    except PydanticUserError as error:
        raise TypeError(f"{where}: its parameters have no JSON Schema: {error.message}") from error


def _is_silent(hint: Any) -> bool:
    """Whether a type says nothing of what its value is for."""
    if get_origin(hint) is not Annotated:
        return True
    return not any(getattr(mark, "description", None) for mark in get_args(hint)[1:])


def _model(fields: dict[str, Any]) -> type[BaseModel]:
    model = create_model("Arguments", **fields)
    model.model_json_schema()
    return model


def _typed(model: type[BaseModel], values: Mapping[str, JsonValue]) -> dict[str, Any]:
    """Give values as those of a function's types; by the names of its parameters."""
    try:
        read = model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ToolFault("bad_arguments", f"tool parameters validation error: {path}: {first['msg']}.") from None
    return {str(field.alias): getattr(read, name) for name, field in model.model_fields.items()}


async def parts_of(result: object) -> list[ToolPart]:
    """Make parts of what a function gave: text, parts, attachments, lists of these; all else is a JSON value.

    Raises:
        ToolFault: it is no JSON.
    """
    match result:
        case None:
            return []
        case str():
            return [TextOut(text=result)]
        case TextOut() | JsonOut() | LinkOut() | FileOut() | VariableOut():
            return [result]
        case Attachment():
            file = await asyncio.to_thread(default_store().put, result.content, result.filename, result.mime_type)
            return [FileOut(file=file)]
        case list() | tuple() if any(isinstance(each, (*_PARTS, Attachment)) for each in cast("list[Any]", result)):
            return [part for each in cast("list[Any]", result) for part in await parts_of(each)]
        case bool() | int() | float():
            return [TextOut(text=str(result))]
        case _:
            return [JsonOut(value=_json(result))]


def _json(value: object) -> JsonValue:
    try:
        if is_dataclass(value) and not isinstance(value, type):
            return TypeAdapter(type(value)).dump_python(value, mode="json")
        return to_jsonable_python(value, inf_nan_mode="strings")
    except (PydanticSerializationError, PydanticUserError, ValueError) as error:
        raise ToolFault(
            "invoke",
            f"the tool gave {type(value).__name__!r}, which is no JSON: {error}. Have it give text, a dict or a list.",
        ) from error


__all__ = ["Attachment", "FunctionTool", "Secret", "Setting", "parts_of", "tool"]
