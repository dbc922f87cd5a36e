"""Calls that a model writes into its text, in the tokens of its own template.

Where no tools are offered, or a server does not read them, models write their calls as text: that is no answer.
`closing` leaves them out of a text that is still being written.
"""

from __future__ import annotations

import re

FLAGS = re.DOTALL | re.IGNORECASE

FENCE = "```"
# XML as Qwen, Hermes, Claude and DeepSeek write it; the namespace may be in wide bars.
NAMESPACE = r"(?:[\w-]{1,20}:|[|｜]\w{1,20}[|｜])?"
NAMES = ("tool_call", "tool_calls", "tool_use", "function_call", "function_calls", "invoke")
TAG = rf"<(?P<tag>{NAMESPACE}(?:{'|'.join(NAMES)}))(?:\s[^<>]*)?>"
TAG_END = r"</(?P=tag)>"
FUNCTION = r"<function=[^<>]*>"
FUNCTION_END = r"</function>"
# Special tokens of Kimi, DeepSeek, Granite, Llama and Mistral.
SPECIAL = r"<[|｜]tool[_▁][^|｜<>\n]{1,40}[|｜]>"
SPECIAL_END = r"[_▁]end[|｜]>"
LAST = r"<\|python_tag\|>|\[TOOL_CALLS\]"

_FENCE_OR_CALL = re.compile(
    rf"(?P<fence>{FENCE}.*?(?:{FENCE}|\Z))"
    rf"|{TAG}.*?(?:{TAG_END}|\Z)"
    rf"|{FUNCTION}.*?(?:{FUNCTION_END}|\Z)"
    rf"|{SPECIAL}(?:.*{SPECIAL_END}|.*\Z)"
    rf"|(?:{LAST}).*\Z",
    FLAGS,
)


def without_calls(text: str) -> str:
    """Leave out calls that stand in a text; what is in a fence is shown, not called."""
    left = _FENCE_OR_CALL.sub(lambda found: found["fence"] or "", text)
    return text if left == text else left.strip()
