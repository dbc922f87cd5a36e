"""`perdure codec-server`, asked over its socket as the UI and the `temporal` command ask, about real histories."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from fakes.payload_runs import NOISE, ROOMY, Cli, beside, chain, client_of, history
from perdure.handle import RunHandle
from perdure_graph.errors import PlatformError
from perdure_payloads.endpoint import EndpointSettings
from perdure_payloads.endpoint_server import serving
from perdure_worker import temporal_cli
from perdure_worker.embedded import EmbeddedStack

KEYS = f"may:{base64.b64encode(bytes(range(32))).decode()}"
UI = "https://temporal.example.org"
JSON = {"Content-Type": "application/json", "X-Namespace": "default"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str

    @property
    def payloads(self) -> list[dict[str, Any]]:
        return json.loads(self.text)["payloads"]

    @property
    def values(self) -> list[Any]:
        return [json.loads(base64.b64decode(payload["data"])) for payload in self.payloads]


async def ask(url: str, body: Any, method: str = "POST", **headers: str) -> Answer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)

    def go() -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode())

    return await asyncio.to_thread(go)


@dataclass(frozen=True)
class Served:
    url: str
    stack: EmbeddedStack
    run: RunHandle
    payloads: list[dict[str, Any]]


@asynccontextmanager
async def codec_server(cli: Cli, *options: str) -> AsyncIterator[str]:
    process = await cli.start("codec-server", "--port", 0, *options)
    assert process.stdout is not None and process.stderr is not None
    try:
        async with asyncio.timeout(60):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("codec endpoint: "), line + (await process.stderr.read()).decode()
        yield line.removeprefix("codec endpoint: ").strip()
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await process.wait() == 0


@pytest.fixture(scope="module")
async def served(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """An encrypted run with a large value that has ended, and a codec server that shows 150 kB at most."""
    folder = tmp_path_factory.mktemp("codec")
    async with beside(stack, "codec", keys=KEYS, blobs=str(folder / "blobs")) as own:
        run = await client_of(own).start(
            chain(first="[v['x'][:100_000], 'canary']", kind="array[string]"), {"v": {"x": NOISE}}, options=ROOMY
        )
        await run.outputs()
        found = list(payloads_in(json.loads(await history(own, run.run_id))))
        variables = {"PERDURE_KEYS": KEYS, "PERDURE_BLOBS": own.blobs, "PERDURE_CODEC_SHOW_BYTES": "150000"}
        async with codec_server(Cli(variables, folder), "--origin", UI) as url:
            yield Served(url, own, run, found)


def payloads_in(part: Any) -> Iterator[dict[str, Any]]:
    """All payloads of a history as JSON."""
    if isinstance(part, dict):
        if "encoding" in part.get("metadata", ()):
            yield part
        for value in part.values():
            yield from payloads_in(value)
    elif isinstance(part, list):
        for value in part:
            yield from payloads_in(value)


def sent(data: bytes, **metadata: bytes) -> dict[str, Any]:
    """A payload in the JSON of protobuf."""
    encoded = {name: base64.b64encode(value).decode() for name, value in metadata.items()}
    return {"metadata": encoded, "data": base64.b64encode(data).decode()}


async def test_a_real_history_is_shown_blobs_too(served: Served) -> None:
    answer = await ask(f"{served.url}/decode", {"payloads": served.payloads})
    assert answer.status == 200 and len(answer.payloads) == len(served.payloads)
    values = answer.values
    outputs = [value["outputs"] for value in values if isinstance(value, dict) and value.get("status") == "succeeded"]
    assert outputs == [{"v": [NOISE[:100_000], "canary"]}], "kept as a blob, shown in full"
    notes = [value for value in values if isinstance(value, str) and value.startswith("[Perdure: ")]
    assert len(notes) == 2 and all("150," in note and "too large to show" in note for note in notes), "of 200 kB"
    assert not any("binary/" in base64.b64decode(p["metadata"]["encoding"]).decode() for p in answer.payloads)
    under_namespace = await ask(f"{served.url}/default/decode", {"payloads": served.payloads})
    assert under_namespace.payloads == answer.payloads


async def test_large_values_are_downloaded_whole(served: Served) -> None:
    """The newer UI keeps references as they are and gives them a button."""
    kept = await ask(f"{served.url}/decode?preserveStorageRefs=true", {"payloads": served.payloads})
    references = [payload for payload in kept.payloads if "externalPayloads" in payload]
    assert references and all(payload in served.payloads for payload in references)
    whole = await ask(f"{served.url}/download", {"payloads": references})
    assert any(isinstance(value, dict) and value.get("inputs") == {"v": {"x": NOISE}} for value in whole.values)
    inline = [payload for payload in served.payloads if payload not in references]
    assert (await ask(f"{served.url}/download", {"payloads": inline[:1]})).status == 400


async def test_one_missing_value_hides_no_other(served: Served) -> None:
    [lost] = [dict(p) for p in served.payloads if "externalPayloads" in p][:1]
    reference = json.loads(base64.b64decode(lost["data"]))
    reference["claimData"]["sha256"] = "0" * 64
    lost["data"] = base64.b64encode(json.dumps(reference).encode()).decode()
    lost["externalPayloads"] = [{"sizeBytes": "70000"}]
    unknown = {
        "metadata": {"encoding": base64.b64encode(b"binary/encrypted").decode(), "encryption-key-id": "bm9uZQ=="}
    }
    plain = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(b"1").decode(),
    }
    answer = await ask(f"{served.url}/decode", {"payloads": [lost, unknown, plain]})
    assert answer.values[2] == 1
    assert served.run.run_id in answer.values[0] and "blob folder" in answer.values[0]
    assert "'none'" in answer.values[1] and "PERDURE_KEYS" in answer.values[1]
    assert (await ask(f"{served.url}/download", {"payloads": [lost]})).status == 422


async def test_what_the_ui_sends_is_encoded(served: Served) -> None:
    plain = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(b'"hi"').decode(),
    }
    encoded = await ask(f"{served.url}/encode", {"payloads": [plain]})
    assert base64.b64decode(encoded.payloads[0]["metadata"]["encoding"]) == b"binary/encrypted"
    assert (await ask(f"{served.url}/decode", {"payloads": encoded.payloads})).values == ["hi"]


async def test_only_pages_of_the_ui_may_ask(served: Served) -> None:
    asking = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type,x-namespace"}
    ours = await ask(f"{served.url}/decode", b"", "OPTIONS", Origin=UI, **asking)
    assert (ours.status, ours.headers["access-control-allow-origin"]) == (200, UI)
    for origin in ("https://evil.example.org", "http://localhost:8233", f"{UI}.evil.example.org"):
        theirs = await ask(f"{served.url}/decode", b"", "OPTIONS", Origin=origin, **asking)
        assert theirs.status == 400 and "access-control-allow-origin" not in theirs.headers
    shown = await ask(f"{served.url}/decode", {"payloads": []}, Origin=UI)
    assert shown.headers["access-control-allow-origin"] == UI


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        ({"payloads": 3}, {}, 400),
        # A form of another page can send this without being asked first.
        ({"payloads": []}, {"Content_Type": "text/plain"}, 415),
        # A name of somebody else's that was made to point at this machine.
        ({"payloads": []}, {"Host": "evil.example.org"}, 403),
    ],
)
async def test_what_is_refused(served: Served, body: Any, headers: dict[str, str], status: int) -> None:
    assert (await ask(f"{served.url}/decode", body, **headers)).status == status


async def test_the_temporal_command_shows_a_run(served: Served) -> None:
    command = [str(temporal_cli.ensure()), "workflow", "show", "--workflow-id", served.run.run_id]
    command += ["--address", served.stack.address, "--output", "json", "--codec-endpoint", served.url]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    shown = [(base64.b64decode(p["metadata"]["encoding"]), p.get("data", "")) for p in payloads_in(json.loads(out))]
    assert {encoding for encoding, _ in shown} == {b"json/plain"}
    assert any(b"canary" in base64.b64decode(data) for _, data in shown)


async def test_beyond_loopback_there_must_be_a_token() -> None:
    with pytest.raises(PlatformError, match="PERDURE_CODEC_TOKEN"):
        async with serving(EndpointSettings(blobs="off"), host="0.0.0.0"):
            pass
    settings = EndpointSettings(blobs="off", codec_token="s3cret", codec_max_bytes=2000)  # type: ignore[arg-type]
    async with serving(settings) as url:
        assert (await ask(f"{url}/decode", {"payloads": []})).status == 401
        assert (await ask(f"{url}/decode", {"payloads": []}, Authorization="Bearer wrong")).status == 401
        assert (await ask(f"{url}/decode", {"payloads": []}, Authorization="Bearer s3cret")).status == 200
        assert (await ask(f"{url}/decode", b" " * 3000, Authorization="Bearer s3cret")).status == 413


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving(EndpointSettings(blobs="off")) as url:
        with pytest.raises(PlatformError, match=r"cannot use 127\.0\.0\.1"):
            async with serving(EndpointSettings(blobs="off"), port=int(url.rpartition(":")[2])):
                pass
