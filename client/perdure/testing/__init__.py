"""Run `<flow>.cases.json` files against flows: what `perdure test` does."""

from .cases import Case, CaseFile, Expect, find, load_flow
from .record import Recording, make_case, record_case
from .runner import Outcome, TestReport, run_cases
from .writing import write_case

__all__ = [
    "Case",
    "CaseFile",
    "Expect",
    "Outcome",
    "Recording",
    "TestReport",
    "find",
    "load_flow",
    "make_case",
    "record_case",
    "run_cases",
    "write_case",
]
