"""What a node may ask the outside world to do, and what comes back.

An effect is a frozen request; the class names the activity that performs it, the class of its timeouts and
retries (`perdure_workflows.policies`) and the type of the reply. A workflow knows an activity by nothing else.
Third-party nodes declare their own subclasses next to their node type.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from .options import CacheOptions, RetryClass

EffectClass = Literal["template", "code", "http", "model", "tool", "io", "child"]

# Methods that change nothing (RFC 9110, section 9.2.1).
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class EffectMeta(BaseModel):
    """What the engine adds to a request; the worker's wrapper acts on it before and after the activity.

    run_id: the root run, also for effects of its child workflows. `scope` names the child, empty for the run itself.
    key: names the effect within the scope, `it[3].k#2` for a second effect of node `k` in item 3.
    idempotency_key: the same for every attempt at the same piece of work, whichever worker makes it; an operator's
        `retry` starts a new one.
    flow, tenant: what `cache` may be shared within.
    events: events of the scope not yet recorded, oldest first; the wrapper records them and says so in the reply.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    scope: str = ""
    key: str
    idempotency_key: str
    retry: RetryClass = "safe"
    cache: CacheOptions | None = None
    flow: str = ""
    tenant: str = ""
    events: tuple[dict[str, JsonValue], ...] = ()


class ReplyMeta(BaseModel):
    """What the worker's wrapper adds to a reply.

    recorded: whether `EffectMeta.events` are in the run store; `off` when the worker has none, `no` when it is down.
    cached: whether the reply is one kept from before.
    """

    model_config = ConfigDict(frozen=True)

    recorded: Literal["yes", "no", "off"] = "off"
    cached: bool = False


class Reply(BaseModel):
    """What an activity answers. Frozen plain data."""

    model_config = ConfigDict(frozen=True)

    meta: ReplyMeta | None = None

    def worth_keeping(self) -> bool:
        """Whether an equal request may take it instead of asking anew: not a failure that may soon be over."""
        return True


class Effect(BaseModel):
    """A request to one activity. Frozen plain data, no secrets."""

    model_config = ConfigDict(frozen=True)

    activity: ClassVar[str]
    effect_class: ClassVar[EffectClass]
    reply: ClassVar[type[Reply]]

    meta: EffectMeta | None = None

    def budget_s(self) -> float:
        """Seconds one attempt may take before Temporal gives it up (start-to-close)."""
        return 60.0

    def may_be_kept(self) -> bool:
        """Whether an equal request asks for the same at another time."""
        return True

    def identity(self) -> dict[str, Any]:
        """Give what makes requests equal, as JSON."""
        return self.model_dump(mode="json", exclude={"meta"})

    def default_retry(self) -> RetryClass:
        """How it may be repeated where the node does not say."""
        return "safe"


class Recorded(Reply):
    """Answer of `RecordEvents`: what its `meta` says."""


class RecordEvents(Effect):
    """Record the events in `meta` where no other effect is due to carry them."""

    activity = "record_events"
    effect_class = "io"
    reply = Recorded

    def budget_s(self) -> float:
        """A short write."""
        return 10.0


class Rendered(Reply):
    """Text of a rendered template."""

    text: str


class RenderTemplate(Effect):
    """Render a Jinja2 template with plain JSON variables in a killable child process."""

    activity = "render_template"
    effect_class = "template"
    reply = Rendered

    template: str
    variables: dict[str, JsonValue]
    max_chars: int = 400_000
    timeout_s: float = 5.0

    def budget_s(self) -> float:
        """Rendering time plus the start of a fresh child."""
        return self.timeout_s + 10.0


class CodeResult(Reply):
    """What `main` returned, as JSON, and the engine that ran it."""

    result: JsonValue
    engine: Literal["monty", "cpython", "v8"]


class RunCode(Effect):
    """Run a snippet's `main(**inputs)` in a sandbox with time, memory and output limits."""

    activity = "run_code"
    effect_class = "code"
    reply = CodeResult

    language: Literal["python3", "javascript"]
    code: str
    inputs: dict[str, JsonValue]
    timeout_s: float = 60.0
    memory_mb: int = 256
    max_output_bytes: int = 1_000_000

    def budget_s(self) -> float:
        """Both engines may be tried in turn."""
        return 2 * self.timeout_s + 20.0


class HttpAuth(BaseModel):
    """How a request authenticates. `secret` is already resolved text as drawn in the graph."""

    model_config = ConfigDict(frozen=True)

    scheme: Literal["none", "basic", "bearer", "custom"] = "none"
    header: str = "Authorization"
    secret: str = ""


class HttpPart(BaseModel):
    """One part of a form: text, or a reference to files (Dify file objects)."""

    model_config = ConfigDict(frozen=True)

    key: str
    text: str | None = None
    files: tuple[dict[str, JsonValue], ...] = ()


class HttpBody(BaseModel):
    """Body of a request: exactly one of the fields is meant, chosen by `kind`."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["none", "text", "json", "urlencoded", "form", "binary"] = "none"
    text: str = ""
    json_value: JsonValue = None
    parts: tuple[HttpPart, ...] = ()
    files: tuple[dict[str, JsonValue], ...] = ()


class HttpReply(Reply):
    """A response: text in `body`, or a stored file in `files` (then `body` is empty)."""

    status_code: int
    headers: dict[str, str]
    body: str
    files: tuple[dict[str, JsonValue], ...] = ()

    def worth_keeping(self) -> bool:
        """Only what the other side meant to answer, and text: a file lives elsewhere, and may go before the reply."""
        return 200 <= self.status_code < 300 and not self.files


class SendHttp(Effect):
    """Send one HTTP request through the guarded door. Times are seconds, sizes bytes."""

    activity = "send_http"
    effect_class = "http"
    reply = HttpReply

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    auth: HttpAuth = HttpAuth()
    body: HttpBody = HttpBody()
    connect_s: float = 10.0
    read_s: float = 600.0
    write_s: float = 600.0
    verify_tls: bool = True
    max_text_bytes: int = 1_048_576
    max_file_bytes: int = 10_485_760

    def budget_s(self) -> float:
        """Connect, send and read, each with its own limit, plus a margin."""
        return self.connect_s + self.read_s + self.write_s + 10.0

    def default_retry(self) -> RetryClass:
        """By the method."""
        return retry_of_method(self.method)


def retry_of_method(method: str) -> RetryClass:
    """Say how a request may be repeated, by its method."""
    return "safe" if method.upper() in SAFE_METHODS else "keyed"
