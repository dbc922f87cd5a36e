"""Parameters of a call against the rules of its model: checked, converted, and without what the model cannot take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NoReturn, cast

from pydantic import JsonValue

from .declared.schema import Feature, ModelDeclaration, ParameterRule
from .protocol import ModelFault

MAX_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_tokens_to_sample")
STOP = ("stop", "stop_sequences", "stop_words")

# Parameters that only models with the feature take.
_NEEDS: dict[str, tuple[Feature, ...]] = {
    "temperature": ("sampling-params",),
    "top_p": ("sampling-params",),
    "top_k": ("sampling-params",),
    "min_p": ("sampling-params",),
    "presence_penalty": ("sampling-params",),
    "frequency_penalty": ("sampling-params",),
    "repetition_penalty": ("sampling-params",),
    "logprobs": ("sampling-params",),
    "top_logprobs": ("sampling-params",),
    "logit_bias": ("sampling-params",),
    "reasoning_effort": ("reasoning-effort",),
    "reasoning_summary": ("reasoning-effort",),
    "effort": ("reasoning-effort",),
    "thinking": ("thinking", "adaptive-thinking"),
    "thinking_budget": ("thinking",),
}
_SAME: dict[str, str] = {"effort": "reasoning_effort", "reasoning_effort": "effort"}
# What is larger, or is no number at all, can be neither rounded nor compared.
_LARGEST = 1e300
_MOST_DIGITS = 400
_MOST_TOKENS = 1_000_000_000
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")


@dataclass(frozen=True, slots=True)
class Checked:
    """Parameters that the model takes.

    dropped: what it does not take, each with the reason, for people.
    max_tokens, stop: taken out of the parameters, whatever they were called.
    """

    parameters: dict[str, JsonValue]
    dropped: tuple[str, ...] = ()
    max_tokens: int | None = None
    stop: tuple[str, ...] = field(default=())


def checked(
    parameters: Mapping[str, JsonValue],
    declaration: ModelDeclaration,
    *,
    stop: tuple[str, ...] = (),
    unknown: Literal["keep", "drop"] = "keep",
    lenient: bool = False,
) -> Checked:
    """Check parameters by the rules of a model.

    stop: further stop words, beside those among the parameters.
    unknown: whether parameters without a rule are kept for the server to judge, or dropped with a note.
    lenient: drop what is wrong, too: the model is another one than the node asked for.

    Raises:
        ModelFault: `bad_request`: names the parameter, what it may be, and the model.
    """
    given: dict[str, JsonValue] = {name: value for name, value in parameters.items() if value is not None}
    words = [*_words(given, declaration), *stop]
    kept: dict[str, JsonValue] = {}
    dropped: list[str] = []
    most = _most(given, declaration, dropped if lenient else None)
    for rule in declaration.parameter_rules:
        name = _given_as(rule, given)
        if rule.name in MAX_TOKENS:
            continue
        if name is None:
            if rule.required:
                kept[rule.name] = _default(rule, declaration)
            continue
        value = given.pop(name)
        if (why := _why_not(rule.name, declaration)) is not None:
            dropped.append(f"{name}: {why}")
        elif (value := _allowed(rule, value, declaration, dropped if lenient else None)) is not None:
            kept[rule.name] = value
    for name, value in given.items():
        why = _why_not(name, declaration)
        if why is None and unknown == "drop":
            why = f"{declaration.model!r} has no such parameter"
        if why is None:
            kept[name] = value
        else:
            dropped.append(f"{name}: {why}")
    if words and "stop-words" not in declaration.features:
        dropped.append(f"stop: {declaration.model!r} takes no stop words")
        words = []
    return Checked(kept, tuple(dropped), most, tuple(dict.fromkeys(words)))


def _given_as(rule: ParameterRule, given: Mapping[str, JsonValue]) -> str | None:
    """Find the name under which a graph gives a parameter: its own, its template's, or that of another provider."""
    names = (rule.name, rule.use_template, _SAME.get(rule.name))
    return next((name for name in names if name is not None and name in given), None)


def _why_not(name: str, declaration: ModelDeclaration) -> str | None:
    needs = _NEEDS.get(name)
    if needs is None or {*needs} & declaration.features:
        return None
    return f"{declaration.model!r} is without {' or '.join(needs)}"


def _default(rule: ParameterRule, declaration: ModelDeclaration) -> JsonValue:
    if rule.default is None:
        _refuse(rule.name, f"it is required and missing; it must be {_range(rule)}", declaration)
    return rule.default


def _allowed(
    rule: ParameterRule, value: JsonValue, declaration: ModelDeclaration, dropped: list[str] | None
) -> JsonValue:
    """Give the value as the rule wants it; one that is wrong is refused, or dropped where there is a list for it."""
    try:
        return _value(rule, value, declaration)
    except ModelFault as fault:
        if dropped is None:
            raise
        dropped.append(f"{rule.name}: {fault.message}")
        return None


def _most(given: dict[str, JsonValue], declaration: ModelDeclaration, dropped: list[str] | None) -> int | None:
    """Take the most tokens of the answer out of the parameters."""
    limit = declaration.model_properties.max_output
    rule = next((rule for rule in declaration.parameter_rules if rule.name in MAX_TOKENS), None)
    rule = rule or ParameterRule(name="max_tokens", type="int", min=1)
    if limit is not None and (rule.max is None or rule.max > limit):
        rule = rule.model_copy(update={"max": limit})
    values = [given.pop(name) for name in MAX_TOKENS if name in given]
    found = _allowed(rule, values[0], declaration, dropped) if values else None
    if found is None and values and limit is not None:
        return limit
    if found is None and rule.required:
        most = cast("int", _value(rule, _default(rule, declaration), declaration)) + _to_think_with(given, declaration)
        return most if limit is None else min(most, limit)
    return cast("int | None", found)


def _to_think_with(given: Mapping[str, JsonValue], declaration: ModelDeclaration) -> int:
    """Find the tokens a model is given to think with: they count as part of the answer, which comes after them."""
    if "thinking" not in declaration.features:
        return 0
    thinking = given.get("thinking")
    budget = _read(thinking.get("budget_tokens") if isinstance(thinking, dict) else given.get("thinking_budget"))
    return int(budget) if isinstance(budget, int | float) and 0 <= budget <= _MOST_TOKENS else 0


def _words(given: dict[str, JsonValue], declaration: ModelDeclaration) -> list[str]:
    """Take the stop words out of the parameters."""
    found: list[str] = []
    for name in STOP:
        match given.pop(name, None):
            case None:
                pass
            case str() as word:
                found.append(word)
            case list() as words if all(isinstance(word, str) for word in words):
                found += cast("list[str]", words)
            case _:
                _refuse(name, "it must be a text or a list of texts", declaration)
    return [word for word in found if word]


def _value(rule: ParameterRule, value: JsonValue, declaration: ModelDeclaration) -> JsonValue:
    match rule.type:
        case "float" | "int":
            return _number(rule, value, declaration)
        case "boolean":
            text = value.strip().lower() if isinstance(value, str) else value
            if text in ("true", "false"):
                return text == "true"
            if not isinstance(value, bool):
                _refuse(rule.name, f"{_shown(value)} is not {_range(rule)}", declaration)
            return value
        case "string" | "text":
            if not isinstance(value, str) or (rule.options and value not in rule.options):
                _refuse(rule.name, f"{_shown(value)} is not {_range(rule)}", declaration)
            return value
        case "json":
            return value


def _number(rule: ParameterRule, value: JsonValue, declaration: ModelDeclaration) -> int | float:
    number = _read(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= _LARGEST:
        _refuse(rule.name, f"{_shown(value)} is not {_range(rule)}", declaration)
    if rule.type == "int" or rule.precision == 0:
        if number != int(number):
            _refuse(rule.name, f"{_shown(value)} is not {_range(rule)}", declaration)
        number = int(number)
    elif rule.precision is not None and round(number, rule.precision) != number:
        _refuse(rule.name, f"{_shown(value)} has more than {rule.precision} decimal places", declaration)
    if (rule.min is not None and number < rule.min) or (rule.max is not None and number > rule.max):
        _refuse(rule.name, f"{_shown(value)} is not {_range(rule)}", declaration)
    return number


def _read(value: JsonValue) -> JsonValue:
    """Read a number that is given as text."""
    if not isinstance(value, str) or len(value) > _MOST_DIGITS or not _NUMBER.fullmatch(value):
        return value
    return float(value) if re.search(r"[.eE]", value) else int(value)


def _range(rule: ParameterRule) -> str:
    kind = {"float": "a number", "int": "a whole number", "boolean": "true or false", "json": "a value"}.get(rule.type)
    if kind is None:
        return f"one of {', '.join(rule.options)}" if rule.options else "a text"
    low, high = (None if bound is None else f"{bound:,.10g}" for bound in (rule.min, rule.max))
    match low, high:
        case None, None:
            return kind
        case _, None:
            return f"{kind} of at least {low}"
        case None, _:
            return f"{kind} of at most {high}"
        case _:
            return f"{kind} from {low} to {high}"


def _shown(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(name: str, why: str, declaration: ModelDeclaration) -> NoReturn:
    message = f"the parameter {name!r} of the model {declaration.model!r} is wrong: {why}. Correct it in the node."
    raise ModelFault("bad_request", message, parameter=name)
