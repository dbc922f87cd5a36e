"""`perdure models`: which models there are, whether they can be asked, and the credentials for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Json
from .store_cmd import Url, store_url

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from pydantic import SecretStr

    from perdure_worker.models_admin import Admin, ListedModel

    from .output import Output

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the credential, as a deployment gives it.")]

models = typer.Typer(
    name="models",
    help="Models: what is declared, what is deployed, what they are asked with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@models.command("list")
def list_models(
    provider: Annotated[str | None, typer.Option("--provider", metavar="P", help="Only models of this one.")] = None,
    as_json: Json = False,
) -> None:
    """List the declared models, what they can do and cost, and which deployments serve them."""
    _finish(lambda out: _list(provider, out), as_json)


@models.command()
def check(
    deployments: Annotated[list[str] | None, typer.Argument(metavar="DEPLOYMENT...", help="By default all.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Try each deployment with one cheap request; exit code 1 when one of them cannot be used."""
    _finish(lambda out: _check(deployments or [], url, out), as_json)


@models.command("add-credential")
def add_credential(
    name: Name,
    provider: Annotated[str, typer.Option("--provider", metavar="P", help="Whose it is: openai, anthropic, ...")],
    from_env: Annotated[
        str | None, typer.Option("--from-env", metavar="VAR", help="Take the secret from this variable.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--field", metavar="K=V", help="A further field that is no secret.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep-secret", help="Change only the other fields of a stored one.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Store a credential, encrypted; its secret comes from stdin, a prompt or a variable, never from an argument."""
    _finish(lambda out: _add(name, provider, from_env, fields or [], url, out, keep=keep), as_json)


@models.command("credentials")
def list_credentials(url: Url = None, as_json: Json = False) -> None:
    """List the stored credentials, with just enough of each secret to tell it from others."""
    _finish(lambda out: _credentials(url, out), as_json)


@models.command("remove-credential")
def remove_credential(name: Name, url: Url = None, as_json: Json = False) -> None:
    """Delete a stored credential; deployments that name it cannot be used until there is another."""
    _finish(lambda out: _remove(name, url, out), as_json)


def _admin(url: str | None, *, needs_store: bool) -> AbstractAsyncContextManager[Admin]:
    from perdure_graph.errors import InvalidInputs

    from .connect import lacks_worker

    try:
        from perdure_worker.models_admin import administering
    except ImportError as error:
        raise lacks_worker(error) from error
    try:
        found = store_url(url)
    except InvalidInputs:
        if needs_store:
            raise
        found = "off"
    return administering(found)


async def _list(provider: str | None, out: Output) -> int:
    from .output import OK

    async with _admin("off", needs_store=False) as admin:
        found = admin.models(provider)
    shown = ""
    for model in found.models:
        if model.provider != shown:
            shown = model.provider
            out.say(shown)
        out.say(f"  {_line(model)}")
    out.say(f"deployments ({found.source}): {', '.join(found.deployments) or 'none'}")
    if out.as_json:
        listed = [asdict(model) for model in found.models]
        out.json({"source": found.source, "deployments": found.deployments, "models": listed})
    return OK


def _line(model: ListedModel) -> str:
    about = [model.model_type] if model.model_type != "llm" else []
    about += [f"{model.context_size:,} tokens"] if model.context_size else []
    if model.input_price is not None:
        about.append(f"{model.input_price} in, {model.output_price} out ({model.currency} per million)")
    about += [f"ends {model.retires}"] if model.retires else ["deprecated"] if model.deprecated else []
    about += [f"served by {', '.join(model.deployments)}"] if model.deployments else []
    return f"{model.model:<26} {'; '.join(about)}".rstrip()


async def _check(names: list[str], url: str | None, out: Output) -> int:
    from .output import FAILED, OK

    async with _admin(url, needs_store=False) as admin:
        found = await admin.check(names)
    for one in found:
        simulated = " (simulated)" if one.simulated else ""
        count = "" if one.models is None else f"; {one.models:,} models"
        out.say(f"{one.deployment:<20} {one.verdict:<14} {one.detail}{count}{simulated}")
    if out.as_json:
        out.json({"deployments": [{**asdict(one), "usable": one.usable} for one in found]})
    return OK if all(one.usable for one in found) else FAILED


async def _add(
    name: str, provider: str, from_env: str | None, pairs: list[str], url: str | None, out: Output, *, keep: bool
) -> int:
    from .output import OK

    fields = _fields(pairs)
    async with _admin(url, needs_store=True) as admin:
        admin.catalog.provider(provider)
        secret = None if keep else _secret(name, from_env)
        stored = await admin.add(name, provider, secret, fields, keep=keep)
    out.say(f"stored {stored.name!r} for {stored.provider}: {stored.shown}")
    if stored.used_by:
        out.say(f"used by {', '.join(stored.used_by)}; try it: perdure models check {' '.join(stored.used_by)}")
    else:
        out.say(f"no deployment uses it yet: give one `credential: {{stored: {stored.name}}}`")
    if out.as_json:
        out.json({key: value for key, value in asdict(stored).items() if key != "updated_at"})
    return OK


def _fields(pairs: list[str]) -> dict[str, str]:
    from perdure_graph.errors import InvalidInputs

    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInputs("--field takes KEY=VALUE.", field="field")
        found[key] = value
    return found


def _secret(name: str, from_env: str | None) -> SecretStr:
    from getpass import getpass

    from pydantic import SecretStr

    from perdure_graph.errors import InvalidInputs

    if from_env is not None:
        value = os.environ.get(from_env, "")
        if not value:
            raise InvalidInputs(f"the variable {from_env} is not set.", field="from_env")
    elif sys.stdin.isatty():
        value = getpass(f"Secret of {name}: ")
    else:
        value = sys.stdin.read(1024 * 1024)
    return SecretStr(value.strip())


async def _credentials(url: str | None, out: Output) -> int:
    from .output import OK

    async with _admin(url, needs_store=True) as admin:
        found = await admin.credentials()
    for one in found:
        when = datetime.fromtimestamp(one.updated_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        users = f"used by {', '.join(one.used_by)}" if one.used_by else "not used"
        out.say(f"{one.name:<20} {one.provider:<12} {one.shown:<16} {when}  {users}")
    if not found:
        out.say("no credential is stored")
    if out.as_json:
        out.json({"credentials": [asdict(one) for one in found]})
    return OK


async def _remove(name: str, url: str | None, out: Output) -> int:
    from .output import OK

    async with _admin(url, needs_store=True) as admin:
        users = await admin.remove(name)
    out.say(f"removed {name!r}")
    if users:
        out.note(f"warning: still named by {', '.join(users)}, which cannot be used now")
    if out.as_json:
        out.json({"removed": name, "used_by": users})
    return OK


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json)
    raise typer.Exit(execute(lambda: work(out), out))
