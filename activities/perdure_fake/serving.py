"""What a plan is made from: a request, its answer, and the wire to put it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from .answers import Answer, counted
from .asked import Asked
from .errors import Problem, refusal
from .plans import Event, Json, Plan, Send, Wait, encoded, paced, total_wait
from .script import Latency
from .wires import WIRES


@dataclass(frozen=True, slots=True)
class Serving:
    """One request about to be answered. `body` is there where the wire does not generate text."""

    asked: Asked
    answer: Answer
    latency: Latency
    rng: Random
    anthropic: bool
    request_id: str
    body: Json | None = None

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream."""
        return self.body is None and self.asked.stream

    def whole(self) -> Json:
        """Give the body of the answer."""
        return self.body if self.body is not None else WIRES[self.asked.wire][0](self.asked, self.answer)

    def events(self) -> list[Event]:
        """Give the events of the answer."""
        return WIRES[self.asked.wire][1](self.asked, self.answer) if self.body is None else []

    def usual(self) -> Plan:
        """Answer as a provider that is well."""
        return self.streamed(self.events()) if self.streams else self.bodied(self.whole())

    def streamed(self, events: Sequence[Event], **changed: Any) -> Plan:
        """Stream events."""
        pieces = paced(events, self.latency, self.rng)
        return replace(
            Plan(pieces, content_type="text/event-stream; charset=utf-8", framing="chunked"),
            headers=(("cache-control", "no-cache"),),
            **changed,
        )

    def bodied(self, body: object, **changed: Any) -> Plan:
        """Send one body, after the time that it would have taken."""
        seconds = total_wait(self.events(), self.latency, self.rng)
        data = body if isinstance(body, bytes) else encoded(body)
        text = "".join(event.text for event in self.events())
        send = Send(data, text, self.answer.completion)
        return replace(Plan((Wait(seconds), send) if seconds else (send,)), **changed)

    def refuse(self, problem: Problem) -> Plan:
        """Refuse, in the provider's form."""
        return refusal(problem, anthropic=self.anthropic, request_id=self.request_id)

    def saying(self, **changed: Any) -> Serving:
        """Change the answer, and count it again."""
        return replace(self, answer=counted(self.asked, replace(self.answer, **changed)))
