"""The fields of a credential: checked by the provider's schema, and shown so that nothing is given away. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NoReturn

from perdure_graph.errors import InvalidInputs

from .declared.schema import CredentialField, Option, ProviderDeclaration, ShownOn

# Given in place of a secret: keep the one that is stored.
KEEP = "[__HIDDEN__]"

_LONG_ENOUGH = 16
_PREFIX = re.compile(r"[A-Za-z]{1,4}-")


def validated(provider: ProviderDeclaration, values: Mapping[str, str | bool]) -> dict[str, str]:
    """Check a credential by its provider's schema; fields that the schema does not have are left out.

    Raises:
        InvalidInputs: names the field, never its value.
    """
    found: dict[str, str] = {}
    for field in provider.fields:
        if not _is_shown(field.show_on, values):
            continue
        value = values.get(field.variable)
        if value is None or value == "":
            if field.default is not None:
                found[field.variable] = field.default
            elif field.required:
                _refuse(provider, field, "it is required")
            continue
        found[field.variable] = _checked(provider, field, value, values)
    return found


def _checked(
    provider: ProviderDeclaration, field: CredentialField, value: str | bool, values: Mapping[str, str | bool]
) -> str:
    if field.type == "switch":
        text = str(value).lower()
        if text not in ("true", "false"):
            _refuse(provider, field, "it must be true or false")
        return text
    if not isinstance(value, str):
        _refuse(provider, field, "it must be a text")
    if value != value.strip() or not value.isprintable():
        _refuse(provider, field, "it holds spaces around it, or characters that cannot be sent")
    if field.max_length and len(value) > field.max_length:
        _refuse(provider, field, f"it is longer than {field.max_length} characters")
    if field.type in ("select", "radio"):
        choices = [option.value for option in _shown_options(field.options, values)]
        if value not in choices:
            _refuse(provider, field, f"it must be one of {', '.join(choices)}")
    return value


def _shown_options(options: Iterable[Option], values: Mapping[str, str | bool]) -> list[Option]:
    return [option for option in options if _is_shown(option.show_on, values)]


def _is_shown(conditions: Iterable[ShownOn], values: Mapping[str, str | bool]) -> bool:
    return all(str(values.get(one.variable, "")).lower() == one.value.lower() for one in conditions)


def _refuse(provider: ProviderDeclaration, field: CredentialField, why: str) -> NoReturn:
    label = field.label.get("en_US", field.variable)
    raise InvalidInputs(
        f"the field `{field.variable}` ({label}) of a credential for {provider.provider!r} is wrong: {why}.",
        field=field.variable,
    )


def is_secret(provider: ProviderDeclaration, variable: str) -> bool:
    """Whether a field must never be shown; one that is not declared is taken for secret."""
    field = next((field for field in provider.fields if field.variable == variable), None)
    return field is None or field.type == "secret-input"


def obfuscated(secret: str) -> str:
    """Show enough of a secret to tell two apart: `sk-...abcd`; nothing of a short one."""
    if len(secret) < _LONG_ENOUGH:
        return "..."
    prefix = _PREFIX.match(secret)
    return f"{prefix[0] if prefix else ''}...{secret[-4:]}"
