"""The prompt of ReAct: tools are told in words, and so is how to call them.

A template may have these places, each filled once and in one go, so that what is put in is never read again:
`{{instruction}}`, `{{tools}}` (JSON), `{{tool_names}}`; for completion models also `{{historic_messages}}`, `{{query}}`
and `{{agent_scratchpad}}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ..models.messages import ToolSpec
from .effects import Opening
from .standing import standing

STOP = "Observation"
# Their models refuse the stop word.
_WITHOUT_STOP = frozenset({"wenxin"})

_PLACE = re.compile(
    r"\{\{\s*(instruction|tools|tool_names|historic_messages|query|agent_scratchpad)\s*\}\}",
)
_TELLS_TOOLS = re.compile(r"\{\{\s*tools\s*\}\}")

FORMS = """Action: {"action": "<name of the tool>", "action_input": {"<parameter>": <value>}}

or, once you know the answer:

Final Answer: <the answer>"""

_RULES = f"""Answer what the user asks. Where you need to know or do something, use a tool; one at a time.

You have these tools, described in JSON with the schema of their parameters:
{{{{tools}}}}

Write in this form:

Thought: <what you think, and what to do next>
{FORMS.partition(chr(10))[0]}

"action" is one of: {{{{tool_names}}}}. Stop after the action: what the tool gave is then told to you as

Observation: <result of the tool>

and you go on with the next Thought. Never write an Observation yourself. When you know the answer, write

Thought: <why you know it>
Final Answer: <the answer, in the language of the user>"""

_CLOSING_RULES = """Answer what the user asks. You have no tools (tools: {{tools}}, names: "{{tool_names}}").

Do not write an Action any more. Give the final answer now, from what is known:

Thought: <what you think>
Final Answer: <the answer, in the language of the user>"""

CLOSING_LINE = "You cannot use tools any more: give the final answer now, after `Final Answer:`."


def template(opening: Opening, closing: bool) -> str:
    """Choose the template: the agent's own where it tells of the tools, else ours, with the agent's before it."""
    own = opening.prompt_template.strip()
    if own and _TELLS_TOOLS.search(own):
        return f"{own}\n\n{CLOSING_LINE}" if closing else own
    ours = "{{instruction}}\n\n" + (_CLOSING_RULES if closing else _RULES)
    return f"{own}\n\n{ours}" if own else ours


def system_text(opening: Opening, closing: bool, more: Mapping[str, str] | None = None) -> str:
    """Fill the template. `more` are the places beside those of tools and instruction; places not given stay empty."""
    specs = () if closing else opening.toolset.specs
    values = {
        "instruction": standing(opening),
        "tools": tools_json(specs),
        "tool_names": ", ".join(spec.name for spec in specs),
        **(more or {}),
    }
    return _PLACE.sub(lambda found: values.get(found.group(1), ""), template(opening, closing)).strip()


def has_place(text: str, name: str) -> bool:
    """Say whether a template has a place."""
    return any(found.group(1) == name for found in _PLACE.finditer(text))


def tools_json(specs: Sequence[ToolSpec]) -> str:
    """Describe tools."""
    listed = [{"name": spec.name, "description": spec.description, "parameters": spec.parameters} for spec in specs]
    return json.dumps(listed, ensure_ascii=False)


def stop_words(given: Sequence[str], provider: str = "") -> tuple[str, ...]:
    """Add the word before which a model must stop: it would go on with results that it made up."""
    if STOP in given or provider.rsplit("/", 1)[-1].lower() in _WITHOUT_STOP:
        return tuple(given)
    return (*given, STOP)
