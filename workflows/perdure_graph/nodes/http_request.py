"""http-request: send one HTTP request, with variables in every part of it, and read the answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, assert_never, cast

from pydantic import BaseModel, ConfigDict, JsonValue, field_validator, model_validator

from ..effects import HttpAuth, HttpBody, HttpPart, HttpReply, SendHttp, retry_of_method
from ..errors import NodeError
from ..loose_json import parsed, repaired
from ..options import RetryClass
from ..templates import split
from ..values import ValueType, is_file
from .base import Context, Done, NodeData, NodeType, Outcome, Perform

Method = Literal["get", "post", "put", "patch", "delete", "head", "options"]
BodyType = Literal["none", "form-data", "x-www-form-urlencoded", "raw-text", "json", "binary"]

_CONNECT_S, _READ_S, _WRITE_S = 10.0, 600.0, 600.0
_MASK = "********"
_MAX_SHOWN = 500


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        """Editors write null, and "" for a choice not made, where they mean the default."""
        if not isinstance(value, dict):
            return {} if value in (None, "") else cast("Any", value)
        items = cast("dict[str, object]", value).items()
        return {key: item for key, item in items if item is not None and not (key == "type" and item == "")}


class AuthorizationConfig(_Part):
    """Which header carries the key, and how."""

    type: Literal["basic", "bearer", "custom"] = "bearer"
    api_key: str = ""
    header: str = ""


class Authorization(_Part):
    """How the request authenticates."""

    type: Literal["no-auth", "api-key"] = "no-auth"
    config: AuthorizationConfig | None = None

    @field_validator("config", mode="before")
    @classmethod
    def _only_with_a_key(cls, value: object, info: Any) -> object:
        return value if value and info.data.get("type") == "api-key" else None


class BodyItem(_Part):
    """One part of a body."""

    key: str = ""
    type: Literal["text", "file"] = "text"
    value: str = ""
    file: tuple[str, ...] = ()

    @field_validator("value", "key", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        if isinstance(value, dict | list):
            return json.dumps(value, ensure_ascii=False)
        return value if isinstance(value, str) else str(value)

    @field_validator("file", mode="before")
    @classmethod
    def _selector(cls, value: object) -> object:
        return value or ()


class Body(_Part):
    """What is sent; old documents write `data` as one text."""

    type: BodyType = "none"
    data: tuple[BodyItem, ...] = ()

    @field_validator("data", mode="before")
    @classmethod
    def _items(cls, value: object) -> object:
        if not value:
            return ()
        return ({"value": value},) if isinstance(value, str) else value


class TimeoutConfig(_Part):
    """Limits in seconds; zero means the default."""

    connect: float = 0
    read: float = 0
    write: float = 0
    max_connect_timeout: float = 0
    max_read_timeout: float = 0
    max_write_timeout: float = 0

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_zero(cls, value: object) -> object:
        return 0 if value == "" else value

    @field_validator("*")
    @classmethod
    def _negative_is_zero(cls, value: float) -> float:
        return max(value, 0)

    def seconds(self) -> tuple[float, float, float]:
        """Give connect, read and write limits with the defaults filled in."""
        return (
            self.connect or self.max_connect_timeout or _CONNECT_S,
            self.read or self.max_read_timeout or _READ_S,
            self.write or self.max_write_timeout or _WRITE_S,
        )


class HttpRequestData(NodeData):
    """Data of an http-request node; `headers` and `params` hold one `key:value` per line."""

    type: Literal["http-request"]
    method: Method = "get"
    url: str = ""
    headers: str = ""
    params: str = ""
    authorization: Authorization = Authorization()
    body: Body = Body()
    timeout: TimeoutConfig = TimeoutConfig()
    ssl_verify: bool = True

    @field_validator(
        "method", "url", "headers", "params", "authorization", "body", "timeout", "ssl_verify", mode="before"
    )
    @classmethod
    def _null_is_default(cls, value: object, info: Any) -> object:
        return cls.model_fields[info.field_name].default if value is None else value

    @field_validator("method", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return (value.strip().lower() or "get") if isinstance(value, str) else value


def start(data: HttpRequestData, ctx: Context) -> Outcome:
    """Put the request together."""
    auth = _auth(data.authorization, ctx)
    url = _url(data.url, ctx)
    params = _params(data.params, ctx)
    headers = _headers(data.headers, ctx)
    body = _body(data.body, ctx)
    if data.method == "options":
        raise NodeError("Invalid http method: options", "InvalidHttpMethodError")
    connect_s, read_s, write_s = data.timeout.seconds()
    request = SendHttp(
        method=data.method.upper(),
        url=url,
        headers=headers,
        params=params,
        auth=auth,
        body=body,
        connect_s=connect_s,
        read_s=read_s,
        write_s=write_s,
        verify_tls=data.ssl_verify,
    )
    shown: dict[str, JsonValue] = {"method": request.method, "url": _without_secrets(data.url, ctx)}
    return Perform(request, inputs=shown, memo=shown)


def resume(data: HttpRequestData, ctx: Context, reply: HttpReply) -> Outcome:
    """Give the answer; a status beyond 2xx fails only where the author planned for failure."""
    planned = data.error_strategy is not None or data.retry_config.retry_enabled
    if planned and not 200 <= reply.status_code < 300:
        raise NodeError(f"Request failed with status code {reply.status_code}", "HTTPResponseCodeError")
    shown = cast("dict[str, JsonValue]", ctx.memo) if isinstance(ctx.memo, dict) else {}
    return Done(
        outputs={
            "status_code": reply.status_code,
            "body": reply.body,
            "headers": dict(reply.headers),
            "files": list(reply.files),
        },
        inputs=shown,
        process_data={"request": shown},
    )


def outputs(_data: HttpRequestData) -> Mapping[str, ValueType]:
    """Declare status, text, headers and files of the answer."""
    return {
        "status_code": ValueType.NUMBER,
        "body": ValueType.STRING,
        "headers": ValueType.OBJECT,
        "files": ValueType.ARRAY_FILE,
    }


def differs(data: HttpRequestData) -> Sequence[str]:
    """Say where the request is not quite Dify's."""
    found: list[str] = []
    if "?" in data.url and data.params.strip():
        found.append("`params` are added to the query in `url`; in Dify they replace it.")
    return found


def repeats(data: HttpRequestData) -> RetryClass:
    """Say how the request may be repeated."""
    return retry_of_method(data.method)


def _url(template: str, ctx: Context) -> str:
    url = ctx.render(template)
    if not url:
        raise NodeError("url is required", "InvalidURLError")
    if not url.startswith(("http://", "https://")):
        raise NodeError("url should start with http:// or https://", "InvalidURLError")
    return url


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()


def _headers(template: str, ctx: Context) -> tuple[tuple[str, str], ...]:
    # Filled first, split after: a variable may hold several headers.
    pairs = dict(_pair(line) for line in ctx.render(template).splitlines())
    return tuple((key, value) for key, value in pairs.items() if key)


def _params(template: str, ctx: Context) -> tuple[tuple[str, str], ...]:
    # Split first, filled after: a value may hold line breaks and colons.
    pairs = [_pair(line) for line in template.splitlines()]
    return tuple((ctx.render(key), ctx.render(value)) for key, value in pairs if key)


def _auth(authorization: Authorization, ctx: Context) -> HttpAuth:
    if authorization.type == "no-auth":
        return HttpAuth()
    config = authorization.config
    if config is None:
        raise NodeError("authorization config is required", "AuthorizationConfigError")
    secret = ctx.render(config.api_key)
    if not secret.strip():
        raise NodeError(
            "API key is required for authorization but was empty. Please provide a valid API key.",
            "AuthorizationConfigError",
        )
    return HttpAuth(scheme=config.type, header=config.header.strip() or "Authorization", secret=secret)


def _body(body: Body, ctx: Context) -> HttpBody:
    match body.type:
        case "none":
            return HttpBody()
        case "raw-text":
            return HttpBody(kind="text", text=ctx.render(_only_item(body).value))
        case "json":
            return HttpBody(kind="json", json_value=_json(_only_item(body), ctx))
        case "binary":
            return HttpBody(kind="binary", files=_one_file(_only_item(body).file, ctx))
        case "x-www-form-urlencoded":
            return HttpBody(kind="urlencoded", parts=_texts(body.data, ctx))
        case "form-data":
            texts = _texts([item for item in body.data if item.type == "text"], ctx)
            return HttpBody(kind="form", parts=(*texts, *_uploads(body.data, ctx)))
        case _:
            assert_never(body.type)


def _only_item(body: Body) -> BodyItem:
    if len(body.data) != 1:
        raise NodeError(f"{body.type} body type should have exactly one item", "RequestBodyError")
    return body.data[0]


def _json(item: BodyItem, ctx: Context) -> JsonValue:
    text = ctx.render(item.value)
    try:
        value = _parsed(text)
        # A lone surrogate is proper JSON, and fits into no payload: it would hang the run instead of failing it.
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        shown = _without_secrets(item.value, ctx)[:_MAX_SHOWN]
        raise NodeError(f"Failed to parse JSON: {shown}", "RequestBodyError") from error
    return value


def _parsed(text: str) -> JsonValue:
    try:
        return parsed(text)
    except json.JSONDecodeError:
        if (value := repaired(text)) is None:
            raise
        return value


def _texts(items: Sequence[BodyItem], ctx: Context) -> tuple[HttpPart, ...]:
    # A key given twice counts once, with its last value; editors leave an empty last row.
    filled = {ctx.render(item.key): ctx.render(item.value) for item in items if item.key or item.value}
    return tuple(HttpPart(key=key, text=text) for key, text in filled.items())


def _uploads(items: Sequence[BodyItem], ctx: Context) -> tuple[HttpPart, ...]:
    found: dict[str, tuple[dict[str, JsonValue], ...]] = {}
    for item in items:
        if item.type == "file" and len(item.file) > 1:
            value = ctx.get(item.file)
            files = cast("list[Any]", value) if isinstance(value, list) else [value]
            if files and all(is_file(file) for file in files):
                found[ctx.render(item.key)] = tuple(cast("list[dict[str, JsonValue]]", files))
    return tuple(HttpPart(key=key, files=files) for key, files in found.items())


def _one_file(selector: tuple[str, ...], ctx: Context) -> tuple[dict[str, JsonValue], ...]:
    value = ctx.get(selector) if len(selector) > 1 else None
    if not is_file(value):
        raise NodeError(f"cannot fetch file with selector {list(selector)}", "FileFetchError")
    return (cast("dict[str, JsonValue]", value),)


def _without_secrets(template: str, ctx: Context) -> str:
    """Fill a template for people to read."""
    return "".join(
        part
        if isinstance(part, str)
        else _MASK
        if ctx.type_of(part) is ValueType.SECRET
        else ctx.render("{{#" + ".".join(part) + "#}}")
        for part in split(template)
    )


NODE = NodeType(
    name="http-request",
    data=HttpRequestData,
    start=start,
    resume=resume,
    outputs=outputs,
    differs=differs,
    effects=(SendHttp,),
    retries=True,
    repeats=repeats,
    default_pin={"status_code": 200, "body": "mocked response", "headers": {}, "files": []},
)
