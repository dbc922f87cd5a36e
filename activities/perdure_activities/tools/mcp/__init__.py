"""Servers of the Model Context Protocol as sources of tools, through the official `mcp` package.

McpSource (source.py)  tools() -> McpTool.run
  Keeper (keeper.py)   one warm session per server: opened late, shared, closed when idle, opened anew when lost
    Session (session.py)  a task of its own that enters and leaves the SDK's client
      StdioLink (stdio.py), HttpLink (http.py)  the two ways to a server

config.py    what the tools file says of a server; commands.py  which commands may be started
secret_values.py  references to secrets, and how these are kept out of texts
declare.py  what a server says of a tool -> ToolDeclaration; pure
results.py   what a call gave -> tool parts; faults.py  what went wrong -> ToolFault
keeper_process.py  started around a server's command, so that it dies with the worker
"""

from .config import FromCredential, FromEnv, McpServer
from .source import McpSource

__all__ = ["FromCredential", "FromEnv", "McpServer", "McpSource"]
