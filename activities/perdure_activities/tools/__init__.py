"""Tools: one registry for all kinds, one activity that runs them.

    ToolUse -> registry.py (find) -> Tool -> activity.py (`run_tool`) -> ToolResult

protocol.py   what a tool and a provider of tools are
custom.py     Python functions as tools: `@tool`
builtin/      those that come along; openapi/, mcp/: of other servers; children.py: graphs and agents
config.py     the worker's tools file (PERDURE_TOOLS); approval.py: its rules of who is asked
schema.py     declarations -> what a model is shown; plain_schema.py, spellings.py: foreign JSON Schemas made plain
arguments.py  what a model wrote -> valid arguments; convert.py: types
names.py      names that providers take; results.py: results in words for a model
"""

from .custom import Attachment, FunctionTool, Secret, Setting, tool
from .protocol import ToolCallContext, ToolFault

__all__ = ["Attachment", "FunctionTool", "Secret", "Setting", "ToolCallContext", "ToolFault", "tool"]
