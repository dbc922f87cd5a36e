"""How activities report failures of the user's making."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory


def user_failure(message: str, error_type: str) -> ApplicationError:
    """Make an error that fails the node: never retried by Temporal (the graph says what happens next).

    It is expected, so workers log it quietly.
    """
    return ApplicationError(message, type=error_type, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
