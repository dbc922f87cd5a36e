"""The HTTP door: what it leads to, what it never leads to, and what it costs to try."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import httpx2
import pytest
from pydantic import ValidationError

from fakes.http_server import BIG, HttpServer, http_server
from perdure_activities import net
from perdure_activities.addresses import is_public, parse_rule
from perdure_activities.net import (
    AddressBlocked,
    BadExchange,
    BadUrl,
    ConnectFailed,
    NetSettings,
    Timeout,
    TooLarge,
    fetch,
    guarded_client,
)

PUBLIC = "93.184.216.34"
OPEN = NetSettings(allow=("127.0.0.1",))
CLOSED = NetSettings(allow=())


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as running:
        yield running


class Names:
    """A resolver that gives scripted answers, the last one for ever, and counts the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lead public addresses to this machine (below the guard), and note every address dialled."""
    real, seen = httpcore2.AnyIOBackend.connect_tcp, []

    async def connect(self, host, port, *rest):
        seen.append(host)
        return await real(self, "127.0.0.1" if host == PUBLIC else host, port, *rest)

    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    return seen


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "127.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "100.64.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "168.63.129.16",
        "[fd00::1]",
        "[fe80::1]",
        "[ff02::1]",
        "255.255.255.255",
        "224.0.0.1",
    ],
)
async def test_private_addresses_are_refused_in_any_spelling(server: HttpServer, host: str) -> None:
    with pytest.raises(AddressBlocked) as caught:
        await fetch("GET", server.url("/json", host), settings=CLOSED)
    assert "PERDURE_HTTP_ALLOW" in str(caught.value)
    assert caught.value.address in str(caught.value)
    assert caught.value.host in str(caught.value)
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://0177.0.0.1/",
        "http://[::1/",
        "http:///path",
        "ftp://example.com/",
        "file:///etc/passwd",
        "//example.com/",
        "http://example.com:99999/",
        "http://exa\nmple.com/",
        "http://\ud800.example/",
        "http://１２７.0.0.1/",
        "",
    ],
)
async def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(BadUrl):
        await fetch("GET", url, settings=OPEN)


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], [PUBLIC, "10.0.0.7"], ["2606:2800:220:1::1", "::1"], ["::ffff:10.0.0.7"]]
)
async def test_a_name_is_as_good_as_its_worst_address(
    server: HttpServer, dialled: list[str], answers: list[str]
) -> None:
    with pytest.raises(AddressBlocked):
        await fetch("GET", server.url("/json", "127.0.0.1.nip.example"), settings=CLOSED, resolver=Names(answers))
    assert dialled == []


async def test_a_name_with_a_final_dot_is_the_same_name(server: HttpServer) -> None:
    url, names = server.url("/json", "localhost."), Names(["127.0.0.1"])
    with pytest.raises(AddressBlocked):
        await fetch("GET", url, settings=CLOSED, resolver=names)
    allowed = NetSettings(allow=("localhost",))
    assert (await fetch("GET", url, settings=allowed, resolver=names)).status_code == 200


async def test_a_name_that_changes_its_mind_is_asked_once_and_dialled_as_checked(
    server: HttpServer, dialled: list[str]
) -> None:
    names = Names([PUBLIC], ["127.0.0.1"])
    fetched = await fetch("GET", server.url("/json", "rebind.example"), settings=CLOSED, resolver=names)
    assert fetched.content == b'{"ok":true}'
    assert (names.asked, dialled) == (1, [PUBLIC])
    assert server.requests[0].header("host") == f"rebind.example:{server.port}"
    with pytest.raises(AddressBlocked):
        await fetch("GET", server.url("/json", "rebind.example"), settings=CLOSED, resolver=names)
    assert dialled == [PUBLIC]


async def test_a_name_that_changes_its_mind_at_a_redirect(server: HttpServer, dialled: list[str]) -> None:
    async def names(host: str, port: int) -> Sequence[str]:
        return [PUBLIC] if host == "good.example" else ["127.0.0.1"]

    url = server.url("/redirect?to=" + server.url("/json", "evil.example"), "good.example")
    with pytest.raises(AddressBlocked, match=r"evil\.example.*redirect from 'good\.example'"):
        await fetch("GET", url, settings=CLOSED, resolver=names)
    assert len(server.requests) == 1


async def test_the_next_address_is_tried_when_one_does_not_answer(server: HttpServer, dialled: list[str]) -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    settings = NetSettings(allow=("127.0.0.0/8",))
    fetched = await fetch("GET", server.url("/json", "two.example"), settings=settings, resolver=names)
    assert fetched.status_code == 200
    assert dialled == ["127.0.0.2", "127.0.0.1"]


@pytest.mark.parametrize("target", ["http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://0x7f.2/"])
async def test_redirects_to_private_addresses_are_refused(server: HttpServer, target: str) -> None:
    with pytest.raises(AddressBlocked):
        await fetch("GET", server.url(f"/redirect?to={target}"), settings=OPEN)
    assert len(server.requests) == 1


async def test_redirects_to_a_port_that_is_not_allowed_are_refused(server: HttpServer) -> None:
    async with http_server() as other:
        settings = NetSettings(allow=(f"127.0.0.1:{server.port}",))
        with pytest.raises(AddressBlocked):
            await fetch("GET", server.url("/redirect?to=" + other.url("/json")), settings=settings)
        assert other.connections == 0


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://0177.0.0.1/"])
async def test_redirects_to_what_is_no_http_url(server: HttpServer, target: str) -> None:
    with pytest.raises((BadUrl, BadExchange)):
        await fetch("GET", server.url(f"/redirect?to={target}"), settings=OPEN)
    assert len(server.requests) == 1


async def test_a_relative_redirect_is_followed(server: HttpServer) -> None:
    fetched = await fetch("GET", server.url("/redirect?to=/json"), settings=OPEN)
    assert fetched.content == b'{"ok":true}'
    assert fetched.url == server.url("/json")


async def test_redirects_end(server: HttpServer) -> None:
    settings = NetSettings(allow=("127.0.0.1",), max_redirects=2)
    nested = "/json"
    for _ in range(3):
        nested = "/redirect?to=" + nested.replace("%", "%25").replace("?", "%3F").replace("&", "%26")
    with pytest.raises(BadExchange, match="more than 2 redirects"):
        await fetch("GET", server.url(nested), settings=settings)
    assert len(server.requests) == 3
    assert (await fetch("GET", server.url(nested), settings=OPEN)).content == b'{"ok":true}'


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(302, "POST", "GET"), (303, "PUT", "GET"), (301, "POST", "GET"), (307, "POST", "POST"), (308, "PUT", "PUT")],
)
async def test_redirects_keep_or_drop_the_body_as_browsers_do(
    server: HttpServer, status: int, method: str, then: str
) -> None:
    url = server.url(f"/redirect?status={status}&to=/echo")
    await fetch(method, url, content=b"payload", settings=OPEN)
    last = server.requests[-1]
    assert (last.method, last.body) == (then, b"payload" if then == method else b"")


SECRETS = [("Authorization", "Bearer k"), ("X-Key", "k"), ("Cookie", "c=1"), ("X-Plain", "p")]


async def test_credentials_stay_with_their_origin(server: HttpServer) -> None:
    async with http_server() as other:
        url = server.url("/redirect?to=" + other.url("/json"))
        await fetch("GET", url, headers=SECRETS, secret_headers=["X-Key"], settings=OPEN)
        arrived = other.requests[0]
    assert [arrived.header(name) for name, _ in SECRETS] == [None, None, None, "p"]
    assert arrived.header("host") == f"127.0.0.1:{other.port}"
    first = server.requests[0]
    assert [first.header(name) for name, _ in SECRETS] == [value for _, value in SECRETS]


async def test_credentials_follow_a_redirect_within_their_origin(server: HttpServer) -> None:
    await fetch("GET", server.url("/redirect?to=/json"), headers=SECRETS, secret_headers=["X-Key"], settings=OPEN)
    assert server.requests[1].header("authorization") == "Bearer k"
    assert server.requests[1].header("x-key") == "k"


@pytest.mark.parametrize(
    ("entry", "host"),
    [
        ("127.0.0.1:{port}", "127.0.0.1"),
        ("127.0.0.1", "2130706433"),
        ("127.0.0.0/8", "127.0.0.1"),
        ("localhost", "localhost"),
        ("LocalHost.:{port}", "localhost"),
        ("127.0.0.1", "[::ffff:127.0.0.1]"),
        (" 10.0.0.0/8 , localhost:{port} ", "localhost"),
    ],
)
async def test_the_operator_may_open_the_door(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, entry: str, host: str
) -> None:
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", entry.format(port=server.port))
    fetched = await fetch("GET", server.url("/json", host))
    assert fetched.status_code == 200


@pytest.mark.parametrize("entry", ["127.0.0.1:1", "127.0.0.2", "10.0.0.0/8", "example.com", "localhost:1", "::1", ""])
async def test_the_operator_opens_no_more_than_said(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", entry)
    with pytest.raises(AddressBlocked):
        await fetch("GET", server.url("/json"))
    with pytest.raises(AddressBlocked):
        await fetch("GET", server.url("/json", "localhost"), resolver=Names(["127.0.0.1"]))


@pytest.mark.parametrize("entry", ["*", "http://localhost", "10.0.0.0/99", "a b", "host:port", "[::1"])
def test_an_unreadable_entry_of_the_allow_list_is_named(entry: str) -> None:
    with pytest.raises(ValidationError, match="PERDURE_HTTP_ALLOW"):
        NetSettings(allow=(entry,))


def test_rules_read_addresses_with_ports() -> None:
    rule = parse_rule("[::1]:8080")
    assert rule.covers("anything", 8080, ip_address("::1"))
    assert not rule.covers("anything", 8081, ip_address("::1"))


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["::ffff:0:7f00:1", "64:ff9b:1::a00:1", "2001:db8::1", "3fff::1", "5f00::1", "fec0::1"]
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("path", ["/big?declared=yes", "/big?declared=no"])
async def test_a_large_response_is_refused_without_reading_it(server: HttpServer, path: str) -> None:
    with pytest.raises(TooLarge) as caught:
        await fetch("GET", server.url(path), settings=OPEN, max_bytes=1_000_000)
    assert caught.value.limit == 1_000_000
    assert server.sent < BIG / 2


async def test_a_response_that_unpacks_to_much_is_refused(server: HttpServer) -> None:
    with pytest.raises(TooLarge):
        await fetch("GET", server.url("/bomb"), settings=OPEN, max_bytes=1_000_000)


async def test_a_response_of_just_the_limit_is_read(server: HttpServer) -> None:
    size = len(b'{"ok":true}')
    assert (await fetch("GET", server.url("/json"), settings=OPEN, max_bytes=size)).content
    with pytest.raises(TooLarge):
        await fetch("GET", server.url("/json"), settings=OPEN, max_bytes=size - 1)


async def test_the_declared_size_of_a_head_request_is_not_its_body(server: HttpServer) -> None:
    fetched = await fetch("HEAD", server.url("/picture.png"), settings=OPEN, max_bytes=10)
    assert (fetched.status_code, fetched.content) == (200, b"")


async def test_silence_ends(server: HttpServer) -> None:
    limits = httpx2.Timeout(connect=5, read=0.05, write=5, pool=5)
    with pytest.raises(Timeout, match=r"127\.0\.0\.1"):
        await fetch("GET", server.url("/wait"), settings=OPEN, timeout=limits)
    with pytest.raises(Timeout, match="finish"):
        await fetch("GET", server.url("/wait"), settings=OPEN, total_s=0.05)


async def test_failures_name_the_host_and_never_the_url(server: HttpServer) -> None:
    with pytest.raises(BadExchange) as caught:
        await fetch("GET", server.url("/broken?key=hush"), settings=OPEN)
    assert "127.0.0.1" in str(caught.value)
    assert "hush" not in str(caught.value)
    async with http_server() as gone:
        pass
    with pytest.raises(ConnectFailed) as refused:
        await fetch("GET", gone.url("/?key=hush"), settings=OPEN)
    assert "127.0.0.1" in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_a_name_that_does_not_exist_is_no_connection() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(ConnectFailed, match=r"nowhere\.example"):
        await fetch("GET", "http://nowhere.example/", settings=OPEN, resolver=unknown)


async def test_headers_cannot_smuggle_lines(server: HttpServer) -> None:
    with pytest.raises(BadExchange):
        await fetch("GET", server.url("/json"), headers=[("X-A", "1\r\nX-B: 2")], settings=OPEN)
    assert server.requests == []


async def test_the_environment_names_no_proxy(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with http_server() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert (await fetch("GET", server.url("/json"), settings=OPEN)).status_code == 200
        assert proxy.connections == 0


async def test_params_are_added_to_a_query_that_stays_as_it_is(server: HttpServer) -> None:
    params = [("a", "1"), ("a", "ü &"), ("b", "")]
    await fetch("GET", server.url("/echo?sig=a%2Fb+c"), params=params, settings=OPEN)
    assert server.requests[0].target == "/echo?sig=a%2Fb+c&a=1&a=%C3%BC+%26&b="


async def test_a_client_for_other_libraries_is_guarded_too(server: HttpServer) -> None:
    async with guarded_client(OPEN, follow_redirects=True) as client:
        assert (await client.get(server.url("/json"))).json() == {"ok": True}
        with pytest.raises(AddressBlocked):
            await client.get(server.url("/redirect?to=http://169.254.169.254/"))
        with pytest.raises(httpx2.UnsupportedProtocol):
            await client.get("ws://127.0.0.1/")


async def test_the_tls_name_is_that_of_the_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = _certificate(tmp_path, "shop.example")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    names = Names(["127.0.0.1"])
    async with http_server(tls=tls) as server:
        good, bad = (f"https://{host}:{server.port}/json" for host in ("shop.example", "other.example"))
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await fetch("GET", good, settings=OPEN, resolver=names)
        assert (await fetch("GET", bad, settings=OPEN, resolver=names, verify=False)).status_code == 200
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        net._tls.cache_clear()
        try:
            assert (await fetch("GET", good, settings=OPEN, resolver=names)).status_code == 200
            with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
                await fetch("GET", bad, settings=OPEN, resolver=names)
        finally:
            net._tls.cache_clear()
        assert set(server.server_names) == {"shop.example", "other.example"}


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-subj", f"/CN={name}", "-days", "2"]
    command += ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate
