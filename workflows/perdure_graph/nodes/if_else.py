"""if-else: take the branch of the first case that holds, else `false`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator

from ..conditions import Condition, Logic, evaluate
from ..values import ValueType
from .base import Context, Done, NodeData, NodeType, Outcome

ELSE = "false"


class Case(BaseModel):
    """A branch and the conditions that select it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    case_id: str
    logical_operator: Logic = "and"
    conditions: tuple[Condition, ...] = ()

    @field_validator("logical_operator", mode="before")
    @classmethod
    def _null_is_and(cls, value: object) -> object:
        return "and" if value in (None, "") else value


class IfElseData(NodeData):
    """Data of an if-else.

    `logical_operator` and `conditions` at the top are the legacy form of one case `true`.
    """

    type: Literal["if-else"]
    cases: tuple[Case, ...] | None = None
    logical_operator: Logic | None = None
    conditions: tuple[Condition, ...] | None = None

    @property
    def branches(self) -> tuple[Case, ...]:
        """The cases in either form."""
        if self.cases is not None:
            return self.cases
        return (
            Case(
                case_id="true",
                logical_operator=self.logical_operator or "and",
                conditions=self.conditions or (),
            ),
        )


def start(data: IfElseData, ctx: Context) -> Outcome:
    """Test the cases in order."""
    tested: list[dict[str, Any]] = []
    for case in data.branches:
        holds = evaluate(case.conditions, case.logical_operator, ctx)
        tested.append({"case_id": case.case_id, "result": holds})
        if holds:
            return _select(case.case_id, True, tested)
    return _select(ELSE, False, tested)


def _select(handle: str, result: bool, tested: list[dict[str, Any]]) -> Done:
    return Done(
        outputs={"result": result, "selected_case_id": handle},
        handle=handle,
        process_data={"condition_results": tested},
    )


def _outputs(_data: IfElseData) -> dict[str, ValueType]:
    return {"result": ValueType.BOOLEAN, "selected_case_id": ValueType.STRING}


def _handles(data: IfElseData) -> tuple[str, ...]:
    return (*(case.case_id for case in data.branches), ELSE)


NODE = NodeType(
    name="if-else",
    data=IfElseData,
    start=start,
    outputs=_outputs,
    handles=_handles,
    role="branch",
    pinned_handle="selected_case_id",
)
