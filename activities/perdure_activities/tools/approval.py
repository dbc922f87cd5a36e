"""Which calls wait for a person: the operator's rules, in the worker's tools file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, JsonValue

from perdure_graph.agents.config import Approval, ToolUse
from perdure_graph.values import to_text

from ..models.deployed import Part
from .protocol import ToolDeclaration

_STRICTNESS: dict[Approval, int] = {"never": 0, "policy": 1, "required": 2}


def _many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Globs = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_many), Field(min_length=1)]


class Condition(Part):
    """What arguments are like. All that is said must be true.

    arguments: globs of the text of each, by name. hosts: globs of the hosts of all URLs in them.
    """

    arguments: dict[str, Globs] = Field(default_factory=dict[str, Globs])
    hosts: Globs | None = None

    def holds(self, arguments: Mapping[str, JsonValue], *, every: bool) -> bool:
        """Whether the arguments are like that. every: whether all hosts must be, or one is enough."""
        for name, globs in self.arguments.items():
            if name not in arguments or not _fits(to_text(arguments[name]), globs):
                return False
        if self.hosts is None:
            return True
        hosts = [_fits(host, self.hosts) for host in _hosts(arguments.values())]
        return bool(hosts) and (all(hosts) if every else any(hosts))


class ApprovalRule(Part):
    """Who is asked about tools.

    tools: globs of `provider_type/provider_id/tool_name`, or of `provider_id/tool_name`.
    approval: `policy` asks `when` a condition holds, but not where `unless` does; without either, always.
    """

    tools: Globs
    approval: Approval = "required"
    when: Condition | None = None
    unless: Condition | None = None

    def covers(self, use: ToolUse) -> bool:
        """Whether it is about a tool."""
        short = f"{use.provider_id}/{use.tool_name}"
        return _fits(short, self.tools) or _fits(f"{use.provider_type}/{short}", self.tools)

    def asks(self, arguments: Mapping[str, JsonValue]) -> bool:
        """Whether a call with these arguments waits for a person."""
        if self.approval != "policy":
            return self.approval == "required"
        if self.unless is not None and self.unless.holds(arguments, every=True):
            return False
        return self.when is None or self.when.holds(arguments, every=False)


def rule_for(rules: Sequence[ApprovalRule], use: ToolUse) -> ApprovalRule | None:
    """Find the first rule about a tool."""
    return next((rule for rule in rules if rule.covers(use)), None)


def rules_about(rules: Sequence[ApprovalRule], use: ToolUse, declaration: ToolDeclaration) -> list[ApprovalRule]:
    """Find the first rule about a tool under the name that it is used by, and the first under its own.

    One tool has many names: `langgenius/http/http`, or no provider at all. None of them leads past a rule.
    """
    own = {
        "provider_type": declaration.provider_type,
        "provider_id": declaration.provider_id or declaration.name,
        "tool_name": declaration.name,
    }
    found = (rule_for(rules, use), rule_for(rules, use.model_copy(update=own)))
    return [rule for rule in found if rule is not None]


def approval_of(rules: Sequence[ApprovalRule], use: ToolUse, declaration: ToolDeclaration) -> Approval:
    """Say whether calls of a tool wait for a person.

    Whoever uses the tool may change what it declares, but may not take away what the operator's rule asks for.
    """
    found: list[Approval] = [rule.approval for rule in rules_about(rules, use, declaration)]
    otherwise: Approval = "never" if rule_for(rules, use) else declaration.approval
    found.append(use.approval or otherwise)
    return max(found, key=_STRICTNESS.__getitem__)


def rule_asks(
    rules: Sequence[ApprovalRule], use: ToolUse, declaration: ToolDeclaration, arguments: Mapping[str, JsonValue]
) -> bool:
    """Whether a rule wants a person for a call. arguments: all that the tool is called with, settings too."""
    return any(rule.asks(arguments) for rule in rules_about(rules, use, declaration))


def asks(rules: Sequence[ApprovalRule], use: ToolUse, arguments: Mapping[str, JsonValue]) -> bool:
    """Whether a call of a tool whose approval is `policy` waits for a person; without a rule of that kind it does."""
    rule = rule_for(rules, use)
    if rule is None or rule.approval == "never":
        return True
    return rule.asks({**arguments, **use.parameters})


def _fits(text: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _hosts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            try:
                host = urlsplit(value.strip()).hostname if "://" in value else None
            except ValueError:
                # No host fits it: it is not one that goes without asking.
                host = ""
            if host is not None:
                yield host
        elif isinstance(value, list):
            yield from _hosts(cast("list[Any]", value))
        elif isinstance(value, dict):
            yield from _hosts(cast("dict[str, Any]", value).values())
