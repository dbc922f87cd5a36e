"""`perdure thoughts`: the rounds of a run's agents."""

from __future__ import annotations

from perdure_graph.agents.thoughts import as_dify
from perdure_graph.events import AgentThought

from .connect import connect, required
from .output import OK, Output
from .thought_lines import cut, observed, shown

_THOUGHT = 160


async def thoughts(run_id: str, address: str | None, out: Output) -> int:
    """Write the rounds of all agents of a run: a table for people, or with `--json` the objects that Dify keeps."""
    found = await (await connect(required(address))).run(run_id).thoughts()
    agents: dict[str, list[AgentThought]] = {}
    for thought in found:
        agents.setdefault(thought.thread, []).append(thought)
    if out.as_json:
        records = [
            record
            for thread, rounds in agents.items()
            for record in as_dify([one.model_dump(mode="json") for one in rounds], message_id=thread)
        ]
        out.json({"run_id": run_id, "thoughts": records})
        return OK
    for thread, rounds in agents.items():
        out.say(f"{rounds[0].title} ({thread})")
        for one in rounds:
            _write(one, out)
    if not found:
        out.note("no thoughts")
    return OK


def _write(one: AgentThought, out: Output) -> None:
    tokens = one.usage.get("total_tokens", 0)
    kind = "answer" if one.answer or not one.calls else "thought"
    out.say(f"  {one.position:>3}  {tokens:>7} tokens  {kind:<8} {cut(one.answer or one.thought, _THOUGHT)}".rstrip())
    for call in one.calls:
        status = str(call.get("status"))
        out.say(f"{'':>21}  {status:<8} {call.get('name')}({cut(shown(call.get('arguments')), _THOUGHT)})")
        if status in ("done", "failed"):
            out.say(f"{'':>30} {cut(observed(call), _THOUGHT)}")
