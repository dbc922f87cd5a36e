"""The command line: `perdure run flow.yml -i question=...`; `perdure --help` lists the commands.

app.py declares the commands and imports what performs them only when one is called, so that help is quick.
"""

from .app import main

__all__ = ["main"]
