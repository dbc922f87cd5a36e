"""What a case of the fault table is: what a provider serves, and what must then hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Wire = Literal["openai-chat", "openai-responses", "anthropic-messages"]
CHAT: Wire = "openai-chat"
RESPONSES: Wire = "openai-responses"
MESSAGES: Wire = "anthropic-messages"
BOTH: tuple[Wire, ...] = (CHAT, MESSAGES)
OPENAI: tuple[Wire, ...] = (CHAT, RESPONSES)
ALL: tuple[Wire, ...] = (CHAT, RESPONSES, MESSAGES)

# Letters of one to four bytes, so that pieces of the wire cut through them.
CHUNKS = ("Grüße, ", "世界 ", "🌍: ", "one ", "two ", "three")
TEXT = "".join(CHUNKS)


@dataclass(frozen=True)
class Expect:
    """What must hold.

    attempts: of the activity; None is as many as follow from the rest.
    faults: kinds of the calls that were accounted as wasted, oldest first. billed: whether these cost tokens.
    requests: that reached the provider. apart: seconds between the first two of them.
    health: of the first deployment, at the end; opens: for how many seconds it is left alone after the last fault.
    text: what a reader of the events has at the end. rewinds: how often text was taken back; None is any number.
    estimated: whether the tokens of the answer are our own count.
    outputs: of the node that asks. says: in the error.
    """

    status: Literal["succeeded", "failed", "stopped"] = "succeeded"
    error_type: str | None = None
    faults: tuple[str, ...] = ()
    billed: bool = False
    attempts: int | None = None
    requests: int = 1
    apart: tuple[float, float] | None = None
    health: str = "well"
    opens: tuple[float, float] | None = None
    text: str = TEXT
    rewinds: int | None = 0
    estimated: bool = False
    outputs: dict[str, Any] = field(default_factory=dict[str, Any])
    says: str = ""


@dataclass(frozen=True)
class Case:
    """One fault as a provider serves it, on some wires.

    params: of the fake's fault. times: so often, then it answers; None is always. nth: only its nth request.
    another: what else may be asked: a second deployment with its own `key`, or a `model` to fall back to.
    reply: what the fault distorts. asks: parameters of the model. perdure: options of the node.
    runs: so many, one after another; what must hold is of all of them together, and of the last.
    door: through the client and a worker; else `why` it is not. play: a function of `plays` that plays it its own way.
    by_wire: what is different there.
    """

    row: int
    name: str
    what: str
    expect: Expect
    wires: tuple[Wire, ...] = ALL
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    times: int | None = None
    nth: int | None = None
    another: Literal["key", "model"] | None = None
    reason: str = "unavailable"
    reply: dict[str, Any] = field(default_factory=lambda: {"chunks": CHUNKS})
    asks: dict[str, Any] = field(default_factory=dict[str, Any])
    perdure: dict[str, Any] = field(default_factory=dict[str, Any])
    provider: str = ""
    base_url: str = ""
    runs: int = 1
    play: str = "run"
    why: str = ""
    by_wire: dict[Wire, dict[str, Any]] = field(default_factory=dict[Wire, dict[str, Any]])

    def attempts(self, expect: Expect) -> int:
        """How often the activity is tried: once more after each fault, but for those that are made good on the spot."""
        if expect.attempts is not None:
            return expect.attempts
        if self.another is not None:
            return 1
        return max(1, len(expect.faults) + (expect.status == "succeeded"))

    def on(self, wire: Wire) -> Expect:
        """What must hold on a wire."""
        return replace(self.expect, **self.by_wire.get(wire, {}))


@dataclass(frozen=True)
class Played:
    """A case on one wire."""

    case: Case
    wire: Wire

    @property
    def id(self) -> str:
        """Name it; the model that is asked has the same name."""
        return f"r{self.case.row:02d}-{self.case.name}-{self.wire.partition('-')[2]}"

    @property
    def provider(self) -> str:
        """Provider that the graph names."""
        return self.case.provider or ("anthropic" if self.wire == MESSAGES else "openai")

    @property
    def expect(self) -> Expect:
        """What must hold."""
        return self.case.on(self.wire)


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and whether it does."""

    what: str
    wanted: object
    got: object
    holds: bool

    @classmethod
    def same(cls, what: str, wanted: object, got: object) -> Check:
        """The two must be equal."""
        return cls(what, wanted, got, wanted == got)

    @classmethod
    def within(cls, what: str, wanted: tuple[float, float], got: float | None) -> Check:
        """A number must be in a range."""
        return cls(what, wanted, got, got is not None and wanted[0] <= got <= wanted[1])

    def __str__(self) -> str:
        return f"{self.what}: wanted {self.wanted!r}, got {self.got!r}"


def told(played: Played) -> str:
    """Say for people what must hold."""
    expect = played.expect
    attempts = played.case.attempts(expect)
    parts = [expect.status + (f" ({expect.error_type})" if expect.error_type else "")]
    parts.append(f"{expect.requests} request{'s' if expect.requests != 1 else ''}")
    parts.append(f"{attempts} attempt{'s' if attempts != 1 else ''}")
    if expect.apart is not None:
        parts.append(f"{expect.apart[0]:g} to {expect.apart[1]:g} s apart")
    if expect.faults:
        costs = "estimated tokens" if expect.billed else "no tokens"
        kinds = dict.fromkeys(expect.faults)
        counted = ", ".join(f"{expect.faults.count(kind)} x {kind}" for kind in kinds)
        parts.append(f"wasted: {counted} ({costs})")
    if expect.opens is not None:
        low, high = expect.opens
        parts.append(f"left alone: {expect.health}, {low:g} s" + (f" to {high:g} s" if high != low else ""))
    else:
        parts.append(f"deployment {expect.health}")
    if expect.rewinds:
        parts.append(f"text taken back {expect.rewinds} x")
    if expect.estimated:
        parts.append("usage estimated")
    parts += [f"{name} = {value!r}" for name, value in expect.outputs.items()]
    if expect.says:
        parts.append(f"the error says {expect.says!r}")
    return "; ".join(parts)
