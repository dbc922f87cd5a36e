"""Credentials through the command line: stored encrypted, tried on a real server, never shown."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fakes.command_line import Done
from fakes.http_server import Recorded, listening, read_request
from perdure.cli.app import app
from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.credential_fields import KEEP, obfuscated, validated
from perdure_activities.models.credentials import Credentials
from perdure_activities.models.declared.load import Catalog
from perdure_activities.models.declared.schema import ProviderDeclaration
from perdure_activities.models.protocol import ModelFault
from perdure_fake import FakeProvider
from perdure_graph.errors import InvalidInputs, PlatformError
from perdure_payloads.keys import KeyRing
from perdure_store.ledger_records import CredentialRow

CANARY = "sk-canary-4f7e0b1d2a9c8e6f"
KEYS = "main:" + base64.b64encode(b"k" * 32).decode()
OTHER_KEYS = "other:" + base64.b64encode(b"o" * 32).decode()


@dataclass
class Provider:
    """What a server answers to GET /v1/models, by the key it is asked with."""

    port: int = 0
    replies: dict[str, tuple[int, Any]] = field(default_factory=dict)
    headers: str = "Content-Type: application/json"
    requests: list[Recorded] = field(default_factory=list)
    without_list: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _reply(self, request: Recorded) -> tuple[int, Any]:
        if self.without_list and request.method == "GET":
            return 404, {"error": {"message": "no such path"}}
        key = (request.header("authorization") or "").removeprefix("Bearer ")
        # Providers quote what they were sent.
        refusal = {"error": {"message": f"Incorrect API key: {key}", "code": "invalid_api_key", "type": key}}
        return self.replies.get(key, (401, refusal))

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        self.requests.append(request)
        status, reply = self._reply(request)
        body = reply.encode() if isinstance(reply, str) else json.dumps(reply).encode()
        head = f"HTTP/1.1 {status} X\r\n{self.headers}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


MODELS = {"object": "list", "data": [{"id": "gpt-4o"}, {"id": "gpt-6-sol"}]}


@asynccontextmanager
async def provider(**given: Any) -> AsyncIterator[Provider]:
    made = Provider(**given)
    async with listening(made.handle) as made.port:
        yield made


@dataclass
class Desk:
    """A folder with a configuration and a store, and the command line in it; remembers all that was written."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "runs.db"

    def configure(self, text: str) -> None:
        (self.folder / "models.yaml").write_text(text)
        self.env["PERDURE_MODELS"] = str(self.folder / "models.yaml")

    async def models(self, *arguments: str, stdin: str = "", **env: str) -> Done:
        names = [*os.environ, "OPENAI_API_KEY"]
        hidden = {n: None for n in names if n.startswith(("PERDURE_", "OPENAI_", "ANTHROPIC_"))}
        base = {"PERDURE_STORE": str(self.store), "PERDURE_KEYS": KEYS, "PERDURE_CACHE_DIR": str(self.folder / "cache")}
        ended = await asyncio.to_thread(
            CliRunner().invoke, app, ["models", *arguments], env=hidden | base | self.env | env, input=stdin
        )
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        self.written += [ended.stdout, ended.stderr]
        return Done(ended.exit_code, ended.stdout, ended.stderr)

    def files(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob("runs.db*"))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def deployment(url: str, **more: str) -> str:
    fields = {"name": "main", "provider": "openai", "base_url": url, "allow_private": "true", **more}
    return "deployments:\n  - {" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + "}\n"


async def test_a_secret_is_stored_used_and_never_shown(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, MODELS)}) as server:
        desk.configure(deployment(server.url, credential="{stored: team}"))
        missing = await desk.models("check", "--json")
        assert (missing.code, missing.json["deployments"][0]["verdict"]) == (1, "missing")
        assert "perdure models add-credential team --provider openai" in missing.out
        added = await desk.models("add-credential", "team", "--provider", "openai", "--json", stdin=CANARY + "\n")
        assert (added.code, added.json["shown"], added.json["used_by"]) == (0, "sk-...8e6f", ["main"]), added.err
        checked = await desk.models("check", "main", "--json")
        (found,) = checked.json["deployments"]
        assert (checked.code, found["verdict"], found["models"], found["usable"]) == (0, "valid", 2, True), checked.err
        listed = await desk.models("credentials", "--json")
        assert [(one["name"], one["shown"]) for one in listed.json["credentials"]] == [("team", "sk-...8e6f")]
        assert "sk-...8e6f" in (await desk.models("credentials")).out
        await desk.models("list", "--provider", "openai")
        removed = await desk.models("remove-credential", "team")
        assert (removed.code, "warning: still named by main" in removed.err) == (0, True)
        again = await desk.models("remove-credential", "team")
        assert (again.code, "no credential 'team' is stored" in again.err) == (2, True)
    assert server.requests[0].header("authorization") == f"Bearer {CANARY}"
    assert len(desk.files()) > 1000
    assert CANARY.encode() not in desk.files()
    assert CANARY not in "".join(desk.written)


async def test_a_changed_row_cannot_be_used(desk: Desk) -> None:
    desk.configure(deployment("http://127.0.0.1:9/v1", credential="{stored: b}"))
    for name in ("a", "b"):
        await desk.models("add-credential", name, "--provider", "openai", stdin=f"{CANARY}{name}")
    with closing(sqlite3.connect(desk.store)) as connection:
        connection.execute("UPDATE credentials SET secret = (SELECT secret FROM credentials WHERE name = 'a')")
        connection.commit()
    done = await desk.models("check", "--json")
    assert done.json["deployments"][0]["verdict"] == "missing"
    assert "cannot be decrypted" in done.json["deployments"][0]["detail"]


async def test_without_the_key_it_cannot_be_read_and_without_any_not_be_stored(desk: Desk) -> None:
    desk.configure(deployment("http://127.0.0.1:9/v1", credential="{stored: team}"))
    await desk.models("add-credential", "team", "--provider", "openai", stdin=CANARY)
    done = await desk.models("check", "--json", PERDURE_KEYS=OTHER_KEYS)
    assert "encrypted with the key 'main', which this process does not have" in done.json["deployments"][0]["detail"]
    rotated = await desk.models("check", "--json", PERDURE_KEYS=f"{OTHER_KEYS},{KEYS}")
    assert rotated.json["deployments"][0]["verdict"] == "unreachable"
    refused = await desk.models("add-credential", "x", "--provider", "openai", stdin=CANARY, PERDURE_KEYS="")
    assert (refused.code, "openssl rand -base64 32" in refused.err) == (1, True)
    off = await desk.models("add-credential", "x", "--provider", "openai", stdin=CANARY, PERDURE_STORE="off")
    assert (off.code, "the run store is `off`" in off.err) == (2, True)
    assert CANARY not in "".join(desk.written)


async def test_a_secret_never_comes_from_an_argument(desk: Desk) -> None:
    await desk.models("add-credential", "team", "--provider", "openai", "--from-env", "MY_KEY", MY_KEY=CANARY)
    assert "sk-...8e6f" in (await desk.models("credentials")).out
    done = await desk.models(
        "add-credential", "x", "--provider", "openai", "--field", f"api_key={CANARY}", stdin="y" * 20
    )
    assert (done.code, "never from an argument" in done.err) == (2, True)
    unset = await desk.models("add-credential", "x", "--provider", "openai", "--from-env", "NOT_SET")
    assert (unset.code, "the variable NOT_SET is not set" in unset.err) == (2, True)
    empty = await desk.models("add-credential", "x", "--provider", "openai", stdin="\n")
    assert (empty.code, "the secret is empty" in empty.err) == (2, True)
    two = await desk.models("add-credential", "x", "--provider", "openai", stdin=f"{CANARY}\n{CANARY}")
    assert (two.code, "characters that cannot be sent" in two.err) == (2, True)
    nobody = await desk.models("add-credential", "x", "--provider", "nobody", stdin=CANARY)
    assert "'nobody' is not declared" in nobody.err
    assert CANARY not in "".join(desk.written)


async def test_other_fields_change_while_the_secret_stays(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, MODELS)}) as server:
        desk.configure(deployment(server.url, credential="{stored: team}"))
        await desk.models("add-credential", "team", "--provider", "openai", stdin=CANARY)
        kept = await desk.models(
            "add-credential", "team", "--provider", "openai", "--keep-secret", "--field", "organization=org-7"
        )
        assert (kept.code, "sk-...8e6f" in kept.out) == (0, True), kept.err
        assert (await desk.models("check")).code == 0
        assert server.requests[-1].header("openai-organization") == "org-7"
        none = await desk.models("add-credential", "new", "--provider", "openai", "--keep-secret")
        assert (none.code, "is stored that could be kept" in none.err) == (2, True)


@pytest.mark.parametrize(
    ("reply", "verdict", "code"),
    [
        ((200, MODELS), "valid", 0),
        ((401, {"error": {"code": "invalid_api_key", "message": CANARY}}), "invalid", 1),
        ((403, {"error": {"code": "unsupported_country"}}), "invalid", 1),
        ((402, {}), "no_credit", 0),
        ((429, {"error": {"code": "insufficient_quota", "message": "pay"}}), "no_credit", 0),
        ((429, {"error": {"code": "rate_limit_exceeded"}}), "cannot_verify", 0),
        ((503, "<html>down</html>"), "cannot_verify", 0),
        ((200, "<html>log in</html>"), "cannot_verify", 0),
        ((302, ""), "cannot_verify", 0),
        ((400, {"error": {"message": CANARY, "code": CANARY}}), "cannot_verify", 0),
    ],
)
async def test_what_the_answer_to_a_check_means(desk: Desk, reply: tuple[int, Any], verdict: str, code: int) -> None:
    kind = "text/html" if isinstance(reply[1], str) else "application/json"
    async with provider(
        replies={CANARY: reply}, headers=f"Content-Type: {kind}\r\nLocation: http://evil.test/"
    ) as server:
        desk.configure(deployment(server.url, credential="{env: TEAM_KEY}"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
    assert (done.json["deployments"][0]["verdict"], done.code) == (verdict, code), done.out
    assert CANARY not in "".join(desk.written)


async def test_a_server_that_lists_nothing_is_asked_for_one_token(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, {"choices": []})}, without_list=True) as server:
        desk.configure(
            deployment(server.url, credential="{env: TEAM_KEY}", models="['my-*', mine]", rename="{fast: x}")
        )
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
        assert (done.code, done.json["deployments"][0]["verdict"]) == (0, "valid")
        asked = json.loads(server.requests[-1].body)
        assert (server.requests[-1].target, asked["model"], asked["max_tokens"]) == ("/v1/chat/completions", "mine", 1)
        desk.configure(deployment(server.url, credential="{env: TEAM_KEY}"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
        assert done.json["deployments"][0]["verdict"] == "cannot_verify"
        assert "Name a model under `models`" in done.json["deployments"][0]["detail"]


async def test_a_model_that_the_server_does_not_list_is_told(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, MODELS)}) as server:
        desk.configure(deployment(server.url, credential="{env: TEAM_KEY}", models="[gpt-99]"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
    assert (done.code, done.json["deployments"][0]["verdict"]) == (1, "unknown_model")
    assert "'gpt-99'" in done.json["deployments"][0]["detail"]


async def test_claude_is_asked_its_own_way(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, {"data": [{"id": "claude-opus-5-5"}], "has_more": True})}) as server:
        desk.configure(deployment(server.url, provider="anthropic", credential="{env: TEAM_KEY}"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
    assert done.json["deployments"][0]["verdict"] == "valid"
    assert server.requests[0].target == "/v1/models"
    assert server.requests[0].header("anthropic-version")


async def test_addresses_of_this_machine_are_asked_only_when_that_is_meant(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, MODELS)}) as server:
        desk.configure(deployment(server.url, allow_private="false", credential="{env: TEAM_KEY}"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
    assert (done.code, done.json["deployments"][0]["verdict"]) == (1, "unreachable")
    assert "allow_private: true" in done.json["deployments"][0]["detail"]
    assert server.requests == []


async def test_the_environment_alone_is_enough(desk: Desk) -> None:
    async with provider(replies={CANARY: (200, MODELS)}) as server:
        done = await desk.models("check", "--json", OPENAI_API_KEY=CANARY, OPENAI_BASE_URL=server.url)
    assert (done.code, done.json["deployments"][0]["deployment"]) == (0, "openai"), done.out
    nothing = await desk.models("check")
    assert (nothing.code, "Set OPENAI_API_KEY" in nothing.err) == (1, True)
    listed = await desk.models("list", "--provider", "openai", "--json", OPENAI_API_KEY=CANARY)
    models = {model["model"]: model for model in listed.json["models"]}
    assert models["gpt-4o"]["deployments"] == ["openai"]
    assert (models["gpt-4o"]["input_price"], models["gpt-4o"]["output_price"]) == ("2.5", "10")
    assert "(any other)" in models
    assert CANARY not in "".join(desk.written)


async def test_a_deployment_that_is_not_there_is_named(desk: Desk) -> None:
    desk.configure(deployment("https://example.com/v1"))
    done = await desk.models("check", "mian")
    assert (done.code, "there is no deployment 'mian'" in done.err, "main" in done.err) == (2, True, True)


def test_fields_are_checked_by_the_schema_of_the_provider() -> None:
    provider = ProviderDeclaration.model_validate(
        {
            "provider": "acme",
            "provider_credential_schema": {
                "credential_form_schemas": [
                    {"variable": "api_key", "type": "secret-input", "max_length": 30},
                    {
                        "variable": "region",
                        "type": "select",
                        "default": "eu",
                        "options": [{"value": "eu"}, {"value": "us"}],
                    },
                    {"variable": "private", "type": "switch", "required": False},
                    {"variable": "zone", "show_on": [{"variable": "region", "value": "us"}]},
                ]
            },
        }
    )
    assert validated(provider, {"api_key": "k", "else": "x", "private": True}) == {
        "api_key": "k",
        "region": "eu",
        "private": "true",
    }
    assert validated(provider, {"api_key": "k", "region": "us", "zone": "1"})["zone"] == "1"
    for wrong, named in [
        ({}, "api_key"),
        ({"api_key": CANARY * 2}, "api_key"),
        ({"api_key": "k", "region": CANARY}, "region"),
        ({"api_key": "k", "region": "us"}, "zone"),
        ({"api_key": "k", "private": CANARY}, "private"),
        ({"api_key": f"{CANARY}\n"}, "api_key"),
    ]:
        with pytest.raises(InvalidInputs) as raised:
            validated(provider, wrong)
        assert raised.value.field == named
        assert CANARY not in str(raised.value)


@pytest.mark.parametrize(
    ("secret", "shown"), [(CANARY, "sk-...8e6f"), ("a" * 15, "..."), ("", "..."), ("x" * 20, "...xxxx")]
)
def test_a_secret_is_shown_only_in_part(secret: str, shown: str) -> None:
    assert obfuscated(secret) == shown


class Rows:
    """Rows in memory; `away` makes the store fail."""

    def __init__(self) -> None:
        self.rows: dict[str, CredentialRow] = {}
        self.away = False

    async def put_credential(self, row: CredentialRow) -> None:
        self.rows[row.name] = row

    async def credential(self, name: str) -> CredentialRow | None:
        if self.away:
            raise PlatformError("away")
        return self.rows.get(name)

    async def credentials(self, provider: str | None = None) -> list[CredentialRow]:
        return [row for row in self.rows.values() if provider in (None, row.provider)]

    async def delete_credential(self, name: str) -> bool:
        return self.rows.pop(name, None) is not None


def credentials_for(deployment: dict[str, Any], rows: Rows | None = None, **environ: str) -> tuple[Credentials, Any]:
    config = ModelsConfig.model_validate({"deployments": [{"name": "main", **deployment}]})
    catalog = Catalog.load(installed=False)
    made = Credentials(config, rows or Rows(), KeyRing.read(KEYS), catalog=catalog, environ=environ)
    return made, config.deployments[0]


async def test_an_endpoint_has_the_secret_but_does_not_show_it() -> None:
    made, main = credentials_for(
        {"provider": "openai", "headers": {"X-A": "b", "X-Key": {"env": "GATEWAY"}}},
        OPENAI_API_KEY=CANARY,
        GATEWAY=CANARY + "2",
    )
    endpoint = await made.endpoint(main, "gpt-6-sol")
    assert (endpoint.api_key, endpoint.base_url, endpoint.wire) == (
        CANARY,
        "https://api.openai.com/v1",
        "openai-responses",
    )
    assert dict(endpoint.headers) == {"X-A": "b", "X-Key": CANARY + "2"}
    assert CANARY not in repr(endpoint) + repr(main) + repr(made)


async def test_a_key_of_the_environment_is_not_sent_to_another_address() -> None:
    made, main = credentials_for({"provider": "openai", "base_url": "https://gateway.test/v1"}, OPENAI_API_KEY=CANARY)
    assert (await made.endpoint(main, "gpt-4o")).api_key == "none"


async def test_missing_secrets_are_faults_that_another_deployment_may_mend() -> None:
    for fields in ({"provider": "openai"}, {"provider": "openai", "credential": {"env": "GONE"}}):
        made, main = credentials_for(fields)
        with pytest.raises(ModelFault) as raised:
            await made.endpoint(main, "gpt-4o")
        assert raised.value.kind == "auth"
        assert "'main'" in raised.value.message
    made, main = credentials_for({"provider": "generic"})
    with pytest.raises(ModelFault, match="'main' has no address"):
        await made.endpoint(main, "x")


async def test_a_credential_of_one_provider_is_not_sent_to_another() -> None:
    rows = Rows()
    made, _ = credentials_for({"provider": "openai"}, rows)
    await made.put("team", "openai", {"api_key": CANARY})
    other, main = credentials_for({"provider": "anthropic", "credential": {"stored": "team"}}, rows)
    with pytest.raises(ModelFault, match="is one of 'openai'"):
        await other.endpoint(main, "claude-opus-5-5")
    rows.rows["team"] = CredentialRow("team", "anthropic", rows.rows["team"].secret)
    moved, main = credentials_for({"provider": "anthropic", "credential": {"stored": "team"}}, rows)
    with pytest.raises(ModelFault, match="cannot be decrypted"):
        await moved.endpoint(main, "claude-opus-5-5")


async def test_a_store_that_is_away_does_not_take_away_a_secret_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows()
    made, main = credentials_for({"provider": "openai", "credential": {"stored": "team"}}, rows)
    await made.put("team", "openai", {"api_key": CANARY})
    assert (await made.endpoint(main, "gpt-4o")).api_key == CANARY
    monkeypatch.setattr("perdure_activities.models.credentials._AGE_S", -1.0)
    rows.away = True
    assert (await made.endpoint(main, "gpt-4o")).api_key == CANARY
    fresh, main = credentials_for({"provider": "openai", "credential": {"stored": "team"}}, rows)
    with pytest.raises(ModelFault) as raised:
        await fresh.endpoint(main, "gpt-4o")
    assert raised.value.kind == "connection"


async def test_the_sentinel_keeps_what_is_stored() -> None:
    made, main = credentials_for({"provider": "openai", "credential": {"stored": "team"}})
    await made.put("team", "openai", {"api_key": CANARY, "organization": "one"})
    await made.put("team", "openai", {"api_key": KEEP, "organization": "two"})
    assert await made.values(main) == {"api_key": CANARY, "organization": "two"}
    assert await made.fields("team") == {"api_key": "sk-...8e6f", "organization": "two"}


@pytest.mark.parametrize("name", ["openai", "anthropic", "generic"])
async def test_a_fake_provider_is_recognised(desk: Desk, name: str) -> None:
    async with FakeProvider.start_here() as fake:
        url = fake.anthropic_url if name == "anthropic" else fake.openai_url
        desk.configure(deployment(url, provider=name, credential="{env: TEAM_KEY}"))
        done = await desk.models("check", "--json", TEAM_KEY=CANARY)
    (found,) = done.json["deployments"]
    assert (done.code, found["verdict"], found["simulated"]) == (0, "valid", True), found
    assert CANARY not in "".join(desk.written)
