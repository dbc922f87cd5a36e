"""Clients of providers: shared by who calls whom, closed when they are many, imported when they are needed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from perdure_activities.models.protocol import Endpoint, Headers
from perdure_activities.models.stream.wire import Clients, rate_headers

ENDPOINT = Endpoint("d", "acme", "openai-chat", "http://127.0.0.1/v1", "sk-secret-key", headers=(("X-Key", "secret"),))


async def test_clients_are_shared_by_where_and_as_whom_they_call() -> None:
    made: list[Endpoint] = []
    closed: list[int] = []

    def make(endpoint: Endpoint, _http: httpx2.AsyncClient) -> int:
        made.append(endpoint)
        return len(made)

    async def end(client: int) -> None:
        closed.append(client)

    clients = Clients(make, end)
    for other, expected in [
        (replace(ENDPOINT, deployment="another", provider="another"), 1),
        (replace(ENDPOINT, api_key="sk-another-key"), 2),
        (replace(ENDPOINT, headers=()), 3),
        (replace(ENDPOINT, base_url="http://127.0.0.2/v1"), 4),
        (replace(ENDPOINT, between_s=1.0), 5),
        (ENDPOINT, 1),
    ]:
        async with clients.use(ENDPOINT), clients.use(other) as client:
            assert client == expected
    assert closed == []
    assert "secret" not in repr(clients)
    async with clients.use(ENDPOINT):
        for n in range(100):
            async with clients.use(replace(ENDPOINT, api_key=f"sk-{n}")):
                pass
        assert closed, "those least lately used are closed"
        assert 1 not in closed, "what is in use stays"
    await clients.close()
    assert sorted(closed) == list(range(1, len(made) + 1))


def test_importing_the_wires_does_not_import_the_sdk() -> None:
    code = (
        "import sys; import perdure_activities.models.openai_chat, perdure_activities.models.openai_responses, "
        "perdure_activities.models.embeddings, perdure_activities.models.rerank; print('openai' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Headers()),
        ({"x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "100", "x-request-id": "r"},
         Headers("r", 9, 100)),
        ({"x-ratelimit-reset-requests": "20ms", "x-ratelimit-reset-tokens": "6m0.5s"}, Headers(reset_s=360.5)),
        ({"x-ratelimit-reset-requests": "1h2m", "x-ratelimit-reset-tokens": "odd"}, Headers(reset_s=3720.0)),
        ({"x-ratelimit-remaining-requests": "-1", "x-ratelimit-remaining-tokens": "many"}, Headers()),
        ({"anthropic-ratelimit-requests-remaining": "3", "anthropic-ratelimit-input-tokens-remaining": "50",
          "anthropic-ratelimit-output-tokens-remaining": "40", "request-id": "r"}, Headers("r", 3, 40)),
    ],
)  # fmt: skip
def test_what_headers_say_of_limits(headers: dict[str, str], expected: Headers) -> None:
    assert rate_headers(headers) == expected


def test_resets_as_dates() -> None:
    date = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    reset = rate_headers({"anthropic-ratelimit-requests-reset": date.replace("+00:00", "Z")}).reset_s
    assert reset is not None
    assert 25 < reset <= 30
