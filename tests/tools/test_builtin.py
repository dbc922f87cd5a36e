"""The tools that come along, called as the worker calls them."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools.support import context

from fakes.http_server import http_server, listening, read_request
from perdure_activities.tools.builtin.calculator import calculator
from perdure_activities.tools.builtin.files import file_list, file_read, file_write
from perdure_activities.tools.builtin.http import http_request
from perdure_activities.tools.builtin.json_query import json_query
from perdure_activities.tools.builtin.search import search_tool
from perdure_activities.tools.builtin.text import page_text
from perdure_activities.tools.builtin.time import (
    current_time,
    localtime_to_timestamp,
    timestamp_to_localtime,
    timezone_conversion,
    weekday,
)
from perdure_activities.tools.builtin.webscraper import webscraper
from perdure_activities.tools.builtin.wikipedia import wikipedia_tool
from perdure_activities.tools.config import SearchEndpoint, Wikipedia
from perdure_activities.tools.protocol import ToolFault
from perdure_activities.tools.results import text_for_model


async def run(tool: Any, folder: Path, settings: dict[str, Any] | None = None, /, **arguments: Any) -> str:
    return text_for_model(await tool.run(arguments, settings or {}, context(folder)), 100_000)


def test_times() -> None:
    assert len(current_time()) == 19
    assert current_time(format="%z", timezone="Asia/Kolkata") == "+0530"
    assert timezone_conversion("2024-07-01 12:00:00", "Europe/Berlin", "America/New_York") == "2024-07-01 06:00:00"
    assert weekday(2024, 2, 29) == "February 29, 2024 is a Thursday."
    assert localtime_to_timestamp("2024-01-01 00:00:00", "UTC") == "1704067200"
    assert timestamp_to_localtime(1704067200, "Asia/Shanghai") == "2024-01-01 08:00:00"
    for wrong in (
        lambda: current_time(timezone="Mars/Olympus"),
        lambda: weekday(2023, 2, 29),
        lambda: timezone_conversion("soon", "UTC", "UTC"),
        lambda: timestamp_to_localtime(10**30),
        lambda: current_time(timezone="../../etc/passwd"),
    ):
        with pytest.raises(ToolFault) as caught:
            wrong()
        assert caught.value.kind == "bad_arguments"


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("1 + 2 * 3", "7"),
        ("(1.5 + 2.5) / 2", "2.0"),
        ("2^10", "1024"),
        ("-3 ** 2", "-9"),
        ("7 // 2 + 7 % 4", "6"),
        ("sqrt(16) + math.floor(2.7)", "6.0"),
        ("round(10 / 3, 2)", "3.33"),
        ("sum([1, 2, 3]) + max(4, 5)", "11"),
        ("3 × 4 =", "12"),
        ("1 < 2 <= 2", "True"),
        ("factorial(5) + comb(5, 2)", "130"),
        ("mean(1, 2, 3) + pi * 0", "2.0"),
    ],
)
def test_arithmetic(expression: str, result: str) -> None:
    assert calculator(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "1 +",
        "1 / 0",
        "__import__('os').system('id')",
        "().__class__",
        "open('/etc/passwd')",
        "x",
        "'a' * 1000000000",
        "9 ** 9 ** 9",
        "2 ** 100000 * 2 ** 100000",
        "1 << 10 ** 9",
        "factorial(10 ** 6)",
        "comb(10 ** 9, 5 * 10 ** 8)",
        "[1] * 10 ** 9",
        "max([[1] * 9])",
        "(-8) ** 0.5",
        "1e308 * 10",
        "[i for i in range(9)]",
        "1 if 1 else 2",
        "lambda: 1",
        "(" * 300 + "1" + ")" * 300,
        "-" * 1500 + "1",
        "+".join(["9" * 900] * 2 + ["9" * 300]) + "**9**9",
        "round(1, 10 ** 9)",
        "sqrt(-1)",
        "log(0)",
    ],
)
def test_what_is_no_arithmetic_ends_at_once(expression: str) -> None:
    with pytest.raises(ToolFault, match="cannot be calculated"):
        calculator(expression)


BOOKS = {"store": {"books": [{"title": "A", "price": 8, "a b": 1}, {"title": "B", "price": 12}], "name": "é"}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.store.name", "é"),
        ("store.books[0].title", "A"),
        ("$.store.books[-1].price", "12"),
        ("$['store']['books'][0]['a b']", "1"),
        ("$.store.books[*].title", '["A", "B"]'),
        ("$..price", "[8, 12]"),
        ("$.store.books[0:1].title", '["A"]'),
        ("$.store.books[?(@.price < 10)].title", '["A"]'),
        ("$.store.books[?(@.title == 'B')].price", "[12]"),
        ("$.store.books[?@['a b']].title", '["A"]'),
        ("$.store.books[0]['title','price']", '["A", 8]'),
        ("$", json.dumps(BOOKS, ensure_ascii=False)),
    ],
)
def test_json_paths(path: str, found: str) -> None:
    assert json_query(json.dumps(BOOKS), path) == found
    assert json_query(BOOKS, path) == found  # type: ignore


@pytest.mark.parametrize(("path", "said"), [
    ("$.gone", "nothing is at '$.gone'. The object has: store"),
    ("$.store[", "cannot be read"),
    ("$.a b!", "cannot be read"),
    ("$.x[?(import)]", "cannot be read"),
])  # fmt: skip
def test_paths_to_nothing(path: str, said: str) -> None:
    with pytest.raises(ToolFault) as caught:
        json_query(json.dumps(BOOKS), path)
    assert said in str(caught.value)


def test_a_path_that_explodes_is_stopped() -> None:
    deep: Any = 1
    for _ in range(12):
        deep = [deep] * 3
    with pytest.raises(ToolFault, match="leads to more than"):
        json_query(deep, "$..*")
    with pytest.raises(ToolFault, match="line 1, column 2"):
        json_query("{no}", "$.a")


async def test_files_of_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "r"
    assert await run(file_list, folder) == "There are no files yet."
    assert await run(file_write, folder, path="notes/plan.md", content="Grüße") == "notes/plan.md was written: 7 bytes."
    assert await run(file_write, folder, path="./notes//plan.md", content="0123456789") != ""
    assert await run(file_read, folder, path="notes/plan.md") == "0123456789"
    assert await run(file_read, folder, path="notes/plan.md", offset=2, limit=3) == (
        "234\n[5 more characters: read on with offset 5]"
    )
    assert await run(file_list, folder) == "notes/plan.md (10)"


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "~/x",
        "..",
        "",
        ".",
        "a/.hidden",
        "C:\\x",
        "\\\\host\\x",
        "a\0b",
        "x" * 300,
        "/".join("abcdefghij"),
    ],
)
async def test_paths_that_lead_out_are_refused(tmp_path: Path, path: str) -> None:
    for tool, more in ((file_read, {}), (file_write, {"content": "x"})):
        with pytest.raises(ToolFault) as caught:
            await run(tool, tmp_path / "r", path=path, **more)
        assert caught.value.kind == "bad_arguments"
        assert str(tmp_path) not in str(caught.value)
    assert not (tmp_path / "x").exists()


async def test_links_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    attempts = [
        ("link", True),
        ("out/secret", True),
        ("out/new", False),
        ("link", False),
        ("pipe", True),
        ("pipe", False),
    ]
    for path, reading in attempts:
        arguments = {"path": path} if reading else {"path": path, "content": "x"}
        with pytest.raises(ToolFault):
            await run(file_read if reading else file_write, folder, **arguments)
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "new").exists()
    assert await run(file_list, folder) == "There are no files yet."


async def test_the_folder_has_limits(tmp_path: Path) -> None:
    with pytest.raises(ToolFault, match="bytes at most"):
        await run(file_write, tmp_path / "r", path="big", content="x" * (1024 * 1024 + 1))
    with pytest.raises(ToolFault, match="there is no file 'gone'"):
        await run(file_read, tmp_path / "r", path="gone")


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda port: monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{port}")


async def test_http_requests_carry_the_key_where_they_change_something(
    tmp_path: Path, reachable: Callable[[int], None]
) -> None:
    async with http_server() as server:
        reachable(server.port)
        said = await run(http_request, tmp_path, url=server.url("/echo"), params={"a": 1})
        assert said.startswith("HTTP 200\n")
        assert '"target": "/echo?a=1"' in said
        await run(
            http_request,
            tmp_path,
            url=server.url("/echo"),
            method="POST",
            body={"ä": 1},
            headers={"Host": "evil", "X-A": "b"},
        )
        assert "HTTP 418" in await run(http_request, tmp_path, url=server.url("/status/418"), method="DELETE")
        get, post, delete = server.requests
        assert get.header("Idempotency-Key") is None
        assert post.header("Idempotency-Key") == delete.header("Idempotency-Key") == "run/k#1"
        assert (post.header("Content-Type"), post.header("X-A")) == ("application/json", "b")
        assert post.header("Host") == f"127.0.0.1:{server.port}"
        assert json.loads(post.body) == {"ä": 1}


async def test_addresses_that_are_not_public_are_refused(tmp_path: Path) -> None:
    async with http_server() as server:
        for tool in (http_request, webscraper):
            with pytest.raises(ToolFault, match="not a public address") as caught:
                await run(tool, tmp_path, url=server.url("/json"))
            assert caught.value.kind == "refused"
        with pytest.raises(ToolFault) as caught:
            await run(http_request, tmp_path, url="file:///etc/passwd")
        assert caught.value.kind == "bad_arguments"
        assert server.connections == 0


PAGE = """<!doctype html><html><head><title> The  page </title><style>p {}</style></head><body><nav>Menu</nav>
<h1>Head</h1><p>One &amp; two<br>three</p><script>alert(1)</script><ul><li>a</li><li>b</li></ul>
<table><tr><td>x</td><td>y</td></tr></table><pre>  kept
  so</pre><footer>Foot</footer></body></html>"""


def test_pages_become_text() -> None:
    title, text = page_text(PAGE.replace("<p>", f"<p>{'long ' * 50}"))
    assert title == "The page"
    assert "# Head" in text
    assert "One & two\nthree" in text
    assert "- a\n" in text
    assert "x | y" in text
    assert not any(word in text for word in ("Menu", "Foot", "alert", "p {}"))
    assert "Menu" in page_text("<body><nav>Menu</nav></body>")[1]
    assert page_text("<p>never closed <b>bold")[1] == "never closed bold"
    assert page_text("<head><title>t<body>text")[1] in ("", "text")


async def test_the_web_page_reader(tmp_path: Path, reachable: Callable[[int], None]) -> None:
    async with http_server() as server:
        reachable(server.port)
        assert await run(webscraper, tmp_path, {"user_agent": "Me"}, url=server.url("/json")) == '{"ok":true}'
        assert server.requests[0].header("User-Agent") == "Me"
        for path, said in (("/status/404", "status 404"), ("/picture.png", "image/png"), ("/big", "larger")):
            with pytest.raises(ToolFault, match=said):
                await run(webscraper, tmp_path, url=server.url(path))


async def _answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await read_request(reader)
    pages = {"query": {"pages": [
        {"index": 2, "title": "Paris, Texas", "extract": "A town.", "fullurl": "https://en/2"},
        {"index": 1, "title": "Paris", "extract": "Capital of <b>France</b>.", "fullurl": "https://en/1"},
    ]}}  # fmt: skip
    found = {"data": {"hits": [
        {"title": "<b>T</b>", "link": "https://t", "snippet": "One &amp; only", "extra": request.header("X-Key")},
        {"name": "U", "url": "https://u"},
        {"title": request.target},
    ]}}  # fmt: skip
    answer = json.dumps(pages if request.target.startswith("/w/") else found).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
    writer.write(f"Content-Length: {len(answer)}\r\n\r\n".encode() + answer)
    await writer.drain()
    writer.close()


async def test_wikipedia_and_search_at_the_places_that_the_operator_names(tmp_path: Path) -> None:
    async with listening(_answering) as port:
        wikipedia = wikipedia_tool(Wikipedia(url=f"http://127.0.0.1:{port}/w/{{language}}/api.php", allow_private=True))
        said = await run(wikipedia, tmp_path, query="Paris", language="de")
        assert said.index("Page: Paris\nSummary: Capital of France.\nhttps://en/1") < said.index("Paris, Texas")
        endpoint = SearchEndpoint(
            url=f"http://127.0.0.1:{port}/s?q={{query}}&n={{count}}",
            results="data.hits",
            headers={"X-Key": {"env": "SEARCH_KEY"}},  # type: ignore
            allow_private=True,
        )
        search = search_tool(endpoint, {"SEARCH_KEY": "k"})
        said = await run(search, tmp_path, query="a b&c", count=3)
        assert said.startswith("1. T\nhttps://t\nOne & only\n\n2. U\nhttps://u")
        assert "/s?q=a%20b%26c&n=3" in said
        with pytest.raises(ToolFault, match="SEARCH_KEY"):
            await run(search_tool(endpoint, {}), tmp_path, query="a")
    with pytest.raises(ToolFault, match="no search engine"):
        await run(search_tool(None, {}), tmp_path, query="a")
    with pytest.raises(ToolFault) as caught:
        await run(wikipedia_tool(Wikipedia()), tmp_path, query="a", language="../x")
    assert caught.value.kind == "bad_arguments"
