"""Every error a user of Perdure can meet, one branch per who must act.

    PerdureError
    ├── InvalidGraph        the author of the graph: it cannot be loaded or run as drawn
    │   └── InvalidAgent    the author of the agent: its file cannot be loaded
    ├── InvalidInputs       the caller of the run: inputs are missing or of the wrong type
    ├── NodeError           the author: one node failed (raised by node code, read from a failed run)
    ├── RunFailed           the author: a run ended without success
    ├── CommandRefused      the caller: the command does not fit the state of the run
    ├── RunNotFound         the caller: no run with this id
    └── PlatformError       the operator: a server, a binary or the network is missing

Each carries `code` (stable, for programs), `retryable` (may the same call succeed later?) and, in its text,
the node, the field and the next step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .report import Finding


class PerdureError(Exception):
    """Root of all errors raised on purpose."""

    code: ClassVar[str] = "perdure_error"
    retryable: ClassVar[bool] = False


class InvalidGraph(PerdureError):
    """The document is no graph that Perdure can load or run; `findings` locates each reason."""

    code = "invalid_graph"

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        self.findings = tuple(findings)
        lines = [message, *(f"  - {finding}" for finding in self.findings)]
        super().__init__("\n".join(lines))


class InvalidAgent(InvalidGraph):
    """The document is no agent that Perdure can load."""

    code = "invalid_agent"


class InvalidInputs(PerdureError):
    """An input of the run is missing or has the wrong type; names the node and the field."""

    code = "invalid_inputs"

    def __init__(self, message: str, *, node: str = "", field: str = "") -> None:
        self.node = node
        self.field = field
        super().__init__(message)


class NodeError(PerdureError):
    """A node failed. `error_type` is what Dify shows as `error_type` (an exception class name).

    final: whether trying again is no use, whatever retries the graph asks for.
    """

    code = "node_failed"

    def __init__(self, message: str, error_type: str = "NodeError", *, final: bool = False) -> None:
        self.message = message
        self.error_type = error_type
        self.final = final
        super().__init__(message)


class RunFailed(PerdureError):
    """A run ended `failed` or `stopped`; names the node that failed, when one did."""

    code = "run_failed"

    def __init__(self, message: str, *, status: str, node: str = "", error_type: str = "") -> None:
        self.status = status
        self.node = node
        self.error_type = error_type
        super().__init__(message)


class CommandRefused(PerdureError):
    """The command does not fit the state the run is in; the text says which would."""

    code = "command_refused"


class RunNotFound(PerdureError):
    """No run has this id."""

    code = "run_not_found"


class PlatformError(PerdureError):
    """Something under Perdure is missing or unreachable; the text says what and how to get it."""

    code = "platform_error"
    retryable = True
