"""From a request to the plan of its response: checks, limits, the script's step, the answer, the fault."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from random import Random

from . import faults
from .answers import Answer, answer_to
from .asked import Asked, mapping, read
from .checks import problem_of
from .checks.messages import digest
from .errors import Problem, refusal
from .http import Request
from .journal import Billed, Entry
from .plans import Json, Plan
from .rates import Limiter
from .routes import Route, api_key
from .script import GENERATING, Script, Step
from .serving import Serving
from .steps import Steps
from .wires import messages


@dataclass(slots=True)
class Answering:
    """A script at work: what it has used up, what each key has left, which contents may be sent back unfinished."""

    script: Script
    base: str
    steps: Steps = field(init=False)
    limiter: Limiter = field(init=False)
    _repeats: dict[str, int] = field(default_factory=dict[str, int])
    _paused: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        for step in self.script.steps:
            if step.fault is not None:
                faults.row_of(step.fault)
        self.steps, self.limiter = Steps(self.script), Limiter(self.script.rates)

    def plan(
        self, request: Request, route: Route | None, body: Json | Problem, entry: Entry, now: float
    ) -> tuple[Plan, Billed | None]:
        """Work out the response, and what is billed for all of it."""
        problem = self._problem(request, route, body)
        if problem is None and route is not None and not isinstance(body, Problem):
            asked = self._read(request, route, body, entry)
            problem = self._unknown_model(asked, route)
            if problem is None:
                found = self._answered(asked, route, entry, now, again="redirected" in request.query)
                if not isinstance(found, Problem):
                    plan, bill = found
                    return self._marked(plan, route, entry, now), bill
                problem = found
        anthropic = route is not None and route.anthropic
        assert problem is not None
        entry.refused = problem.message
        refused = refusal(problem, anthropic=anthropic, request_id=entry.request_id)
        return self._marked(refused, route, entry, now), None

    def _problem(self, request: Request, route: Route | None, body: Json | Problem) -> Problem | None:
        if route is None:
            return Problem(404, f"Invalid URL ({request.method} {request.path})")
        if not api_key(request):
            message = "x-api-key header is required" if route.anthropic else "You didn't provide an API key."
            return Problem(401, message)
        if isinstance(body, Problem):
            return body
        return problem_of(route.wire, body, request.headers, self._paused, strict=self.script.strict)

    def _read(self, request: Request, route: Route, body: Json, entry: Entry) -> Asked:
        body = {"model": route.model} if route.wire == "models" else body
        canonical = json.dumps([route.wire, body], sort_keys=True)
        same = hashlib.sha256(canonical.encode()).hexdigest()
        nth = self._repeats[same] = self._repeats.get(same, 0) + 1
        mark = hashlib.sha256(f"{self.script.seed} {nth} {canonical}".encode()).hexdigest()
        asked = read(route.wire, request.path, body, key=entry.key, base=self.base, nth=nth, digest=mark)
        entry.model = asked.model
        return asked

    def _unknown_model(self, asked: Asked, route: Route) -> Problem | None:
        known = self.script.models
        if known is None or not asked.model or asked.model in known:
            return None
        name = asked.model
        message = (
            f"model: {name}" if route.anthropic else f"The model `{name}` does not exist or you have no access to it."
        )
        return Problem(404, message, code="model_not_found")

    def _answered(
        self, asked: Asked, route: Route, entry: Entry, now: float, *, again: bool
    ) -> tuple[Plan, Billed | None] | Problem:
        """Take a step and make its plan. `again` is a request that followed our own redirect: no step is for it."""
        bodied = asked.wire not in GENERATING
        body = route.body(asked, self.script.models) if bodied else None
        index, step = (None if again else self.steps.pick(asked)) or (None, None)
        answer = Answer(asked.digest[:24]) if bodied else answer_to(asked, step.reply if step else None)
        bill = _bill(answer, body)
        if asked.wire != "models":
            limited = self.limiter.admit(entry.key, bill.prompt, bill.completion, now, anthropic=route.anthropic)
            if limited is not None:
                return limited
        rng = Random(int(asked.digest[:12], 16))  # noqa: S311 - times only
        serving = Serving(asked, answer, self.script.latency, rng, route.anthropic, entry.request_id, body)
        entry.step = index
        plan = self._performed(serving, step, entry)
        return plan, bill if plan.status == 200 and asked.wire not in {"models", "count-tokens"} else None

    def _performed(self, serving: Serving, step: Step | None, entry: Entry) -> Plan:
        answer = serving.answer
        if step is None or step.fault is None:
            pauses = answer.finish == "pause"
            plan = serving.usual()
        else:
            entry.fault = faults.row_of(step.fault)
            pauses, answer = entry.fault == 34, replace(answer, tools=())
            try:
                plan = faults.plan(step.fault, serving)
            except (TypeError, ValueError) as error:
                entry.refused = f"fault {entry.fault} cannot be served with {step.fault.params}: {error}"
                return serving.refuse(Problem(500, f"The fake provider's script is wrong: {entry.refused}"))
        if pauses and serving.asked.wire == "anthropic-messages":
            self._paused.add(digest(messages.whole(serving.asked, answer)["content"]))
        return plan

    def _marked(self, plan: Plan, route: Route | None, entry: Entry, now: float) -> Plan:
        """Say in the headers that this is simulated, who asked, and what is left."""
        anthropic = route is not None and route.anthropic
        own = ("request-id" if anthropic else "x-request-id", entry.request_id)
        left = self.limiter.headers(entry.key, now, anthropic=anthropic)
        return replace(plan, headers=(*plan.headers, ("x-perdure-simulated", "1"), own, *left))


def _bill(answer: Answer, body: Json | None) -> Billed:
    if body is not None:
        return Billed(prompt=int(mapping(body.get("usage")).get("prompt_tokens", 0)))
    return Billed(
        prompt=answer.prompt,
        completion=answer.completion,
        cache_read=answer.cache_read,
        cache_write=answer.cache_write,
        reasoning=answer.reasoning,
    )
