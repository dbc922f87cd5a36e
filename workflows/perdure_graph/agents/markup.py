"""Calls that a model writes into its text, in the tokens of its own template.

Where no tools are offered, or a server does not read them, models write their calls as text: that is no answer.
"""

from __future__ import annotations

import re

_FENCE_OR_CALL = re.compile(
    r"(?P<fence>```.*?(?:```|\Z))"
    # XML as Qwen, Hermes, Claude and DeepSeek write it; the namespace may be in wide bars.
    r"|<(?P<tag>(?:[\w-]{1,20}:|[|｜]\w{1,20}[|｜])?(?:tool_calls?|tool_use|function_calls?|invoke))(?:\s[^<>]*)?>"
    r".*?(?:</(?P=tag)>|\Z)"
    r"|<function=[^<>]*>.*?(?:</function>|\Z)"
    # Special tokens of Kimi, DeepSeek, Granite, Llama and Mistral.
    r"|<[|｜]tool[_▁][^|｜<>\n]{1,40}[|｜]>(?:.*[_▁]end[|｜]>|.*\Z)"
    r"|(?:<\|python_tag\|>|\[TOOL_CALLS\]).*\Z",
    re.DOTALL | re.IGNORECASE,
)


def without_calls(text: str) -> str:
    """Leave out calls that stand in a text; what is in a fence is shown, not called."""
    left = _FENCE_OR_CALL.sub(lambda found: found["fence"] or "", text)
    return text if left == text else left.strip()
