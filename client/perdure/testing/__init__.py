"""Run `<flow>.cases.json` files against flows: what `perdure test` does."""

from .cases import Case, CaseFile, Expect, find
from .runner import Outcome, TestReport, run_cases

__all__ = ["Case", "CaseFile", "Expect", "Outcome", "TestReport", "find", "run_cases"]
