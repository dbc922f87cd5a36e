"""Every row of the fault table, as a function that makes the plan of a response.

A step names a row by number or name; its `params` are the keyword arguments of the row's function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..plans import Plan
from ..script import Fault
from ..serving import Serving
from . import broken, said, slow, statuses

FAULTS: dict[int, Callable[..., Plan]] = {
    1: statuses.rate_limited,
    2: statuses.rate_limited_long,
    3: statuses.rate_limited_form,
    4: statuses.quota,
    5: statuses.unauthorized,
    6: statuses.payment,
    7: statuses.forbidden,
    8: statuses.no_model,
    9: statuses.context_overflow,
    10: statuses.bad_parameter,
    11: statuses.too_large,
    12: statuses.try_again,
    13: statuses.server_error,
    14: statuses.bad_gateway,
    15: statuses.unavailable,
    16: statuses.overloaded,
    17: broken.refused,
    18: broken.closed,
    19: broken.no_headers,
    20: broken.stalled,
    21: broken.cut,
    22: broken.unfinished,
    23: broken.error_in_stream,
    24: broken.bad_line,
    25: broken.html,
    26: broken.bad_json,
    27: broken.hollow,
    28: broken.not_a_stream,
    29: said.bad_arguments,
    30: said.cut_arguments,
    31: said.odd_calls,
    32: said.odd_tools,
    33: said.refused_content,
    34: said.stopped,
    35: said.odd_bytes,
    36: said.odd_usage,
    37: said.reasoned,
    38: slow.drip,
    39: slow.abandoned,
    40: slow.killed,
    41: slow.redirected,
    42: slow.huge,
}
NAMES: dict[str, int] = {make.__name__: row for row, make in FAULTS.items()}


def row_of(fault: Fault) -> int:
    """Give the number of a fault's row.

    Raises:
        ValueError: there is no such row; or it does not take these parameters.
    """
    row = NAMES.get(fault.row, 0) if isinstance(fault.row, str) else fault.row
    if row not in FAULTS:
        raise ValueError(f"there is no fault {fault.row!r}: give a row from 1 to 42, or one of {', '.join(NAMES)}")
    known = [name for name in inspect.signature(FAULTS[row]).parameters if name != "serving"]
    unknown = sorted(set(fault.params) - set(known))
    if unknown:
        raise ValueError(f"fault {row} ({FAULTS[row].__name__}) takes {known}, not {unknown}")
    return row


def plan(fault: Fault, serving: Serving) -> Plan:
    """Make the plan of a response that has a fault."""
    params: dict[str, Any] = dict(fault.params)
    return FAULTS[row_of(fault)](serving, **params)
