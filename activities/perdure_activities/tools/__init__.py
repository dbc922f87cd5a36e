"""Tools: one registry for all kinds, one activity that runs them.

protocol.py   what a tool and a provider of tools are
config.py     the worker's tools file (PERDURE_TOOLS)
registry.py   finds a tool by its `ToolUse`
activity.py   `run_tool`
"""
