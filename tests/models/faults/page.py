"""docs/model-faults.md: the table as people read it."""

from __future__ import annotations

import re
from pathlib import Path

from .case import Played, told
from .matrix import Verdicts
from .table import ALL_PLAYED, ROWS

PAGE = Path(__file__).parents[3] / "docs" / "model-faults.md"

_HEAD = """\
# Faults of providers, and what becomes of them

```
make faults                    # plays all of it, then writes this page
pytest tests/models/faults                        # plays all of it
```

Every fault is served by the fake provider over a real socket, on each wire where it applies: `chat` (OpenAI Chat
Completions), `responses` (OpenAI Responses) and `messages` (Anthropic Messages). A chat flow with one llm is started
through the client; a worker with a deployment of its own for each case asks the model. Looked at are: the status of the
run and the error type, the requests that the provider's journal has, the attempts of the activity, the usage rows in
the run store, the health of the deployment in it, and the events of a reader who appends every `text_chunk` and cuts at
every `text_rewind`: what he ends with is the answer of the run. A deployment that has no other beside it is asked again
even while it is to be left alone; calls that have a choice go elsewhere meanwhile. Where it says *runtime*, the case is
played by the model runtime alone, with the real ledger and sockets.

The limits for silence are 5 s to the first bytes and 4 s between two here, instead of 60 and 30. The model is
simulated.

"""
_COLUMNS = "| row | case | wire | what the provider does | what must hold | |\n|---|---|---|---|---|---|\n"
_LINE = re.compile(r"^\| \d+ \| `([^`]+)` \|.*\| (pass|fail) \|$", re.MULTILINE)


def line(played: Played, verdict: str) -> str:
    """A line of the table."""
    case = played.case
    how = f"{case.what}; *runtime*: {case.why.removeprefix('by the runtime: ')}" if case.why else case.what
    wire = played.wire.partition("-")[2]
    return f"| {case.row} | `{played.id}` | {wire} | {how} | {_escaped(told(played))} | {verdict} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def page(verdicts: Verdicts) -> str:
    """The page, with what was found."""
    parts = [_HEAD]
    good = {played.id: all(check.holds for check in verdicts[played.id]) for played in ALL_PLAYED}
    parts.append(f"{sum(good.values())} of {len(good)} cases of {len(ROWS)} rows pass.\n")
    for row, name in ROWS.items():
        lines = [line(played, "pass" if good[played.id] else "fail") for played in ALL_PLAYED if played.case.row == row]
        parts.append(f"\n## {row}. {name}\n\n{_COLUMNS}" + "\n".join(lines) + "\n")
    return "".join(parts)


def verdicts_of(text: str) -> dict[str, str]:
    """What a page says of each case."""
    return dict(_LINE.findall(text))
