"""Arithmetic, read as an expression tree: names and calls of a short list, numbers, nothing else."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import Annotated, Any, cast

from pydantic import Field

from ..custom import tool
from ..protocol import ToolFault

Number = int | float

_MAX_CHARS = 2_000
_MAX_DEPTH = 100
_MAX_BITS = 20_000
_MAX_FACTORIAL = 1_000
_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "，": ",", "（": "(", "）": ")", "π": "pi"})

_NAMES: dict[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_UNARY: dict[type, Callable[[Any], Any]] = {ast.UAdd: lambda a: a, ast.USub: lambda a: -a, ast.Invert: lambda a: ~a}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


class _NotAllowed(Exception):
    """The expression is no arithmetic, or too large."""


@tool(provider="calculator", label="Calculator", retry="safe")
def calculator(
    expression: Annotated[
        str, Field(description="Arithmetic such as `(3 + 4) * 2 ** 8`, `sqrt(2)` or `round(10 / 3, 2)`.")
    ],
) -> str:
    """Calculate an arithmetic expression.

    It knows + - * / // % ** (or ^), comparisons, sqrt, exp, log, sin, round, abs, min, max, sum, mean and others.
    """
    text = expression.strip().translate(_SIGNS).removesuffix("=").strip()
    try:
        if not text or len(text) > _MAX_CHARS:
            raise _NotAllowed(f"it must have 1 to {_MAX_CHARS} characters")
        result = _value(ast.parse(text.replace("^", "**"), mode="eval").body, 0)
        return _written(result)
    except _NotAllowed as error:
        why = str(error)
    except (SyntaxError, RecursionError, MemoryError):
        why = "it is no arithmetic expression"
    except ZeroDivisionError:
        why = "it divides by zero"
    except (ArithmeticError, ValueError, TypeError) as error:
        why = str(error)
    raise ToolFault("bad_arguments", f"{expression[:200]!r} cannot be calculated: {why}.")


def _written(result: Any) -> str:
    if isinstance(result, float) and not math.isfinite(result):
        raise _NotAllowed("the result is no finite number")
    if isinstance(result, int) and not isinstance(result, bool) and result.bit_length() > _MAX_BITS // 2:
        raise _NotAllowed("the result is too large")
    if isinstance(result, list | tuple):
        raise _NotAllowed("the result is a list, not a number")
    return str(result)


def _value(node: ast.expr, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise _NotAllowed("it is nested too deep")
    deeper = depth + 1
    match node:
        case ast.Constant(value=bool() | int() | float()):
            return _sized(node.value)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item, deeper) for item in items]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _sized(_UNARY[type(op)](_value(operand, deeper)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _sized(_BINARY[type(op)](_number(_value(left, deeper)), _number(_value(right, deeper))))
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [_value(each, deeper) for each in (left, *others)]
            if not all(type(op) in _COMPARE for op in ops):
                raise _NotAllowed("only == != < <= > >= compare")
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, values, values[1:], strict=False))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _sized(_FUNCTIONS[name](*[_value(each, deeper) for each in args]))
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr=name), args=args, keywords=[]) if (
            name in _FUNCTIONS
        ):
            return _sized(_FUNCTIONS[name](*[_value(each, deeper) for each in args]))
        case ast.Attribute(value=ast.Name(id="math"), attr=name) if name in _NAMES:
            return _NAMES[name]
        case _:
            raise _NotAllowed(f"{ast.unparse(node)[:50]!r} is neither a number nor an operation that is known")


def _number(value: Any) -> Number:
    if not isinstance(value, int | float):
        raise _NotAllowed("lists are for functions such as sum only")
    return value


def _sized(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise _NotAllowed("a number in it is too large")
    if not isinstance(value, int | float):
        raise _NotAllowed("it is no number")
    return value


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0:
        if max(base.bit_length(), 1) * exponent > _MAX_BITS * 2:
            raise _NotAllowed("the power is too large")
    elif isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * -exponent > _MAX_BITS * 2:
        return 0.0
    return base**exponent


def _shift(left: Number, right: Number) -> Any:
    if not isinstance(left, int) or not isinstance(right, int) or not 0 <= right <= _MAX_BITS:
        raise _NotAllowed("the shift is too large")
    return left << right


def _factorial(number: Any) -> int:
    if not isinstance(number, int) or not 0 <= number <= _MAX_FACTORIAL:
        raise _NotAllowed(f"factorial takes whole numbers up to {_MAX_FACTORIAL}")
    return math.factorial(number)


def _choose(function: Callable[[int, int], int]) -> Callable[[Any, Any], int]:
    def limited(of: Any, chosen: Any) -> int:
        if not (isinstance(of, int) and isinstance(chosen, int) and 0 <= of <= _MAX_FACTORIAL):
            raise _NotAllowed(f"it takes whole numbers up to {_MAX_FACTORIAL}")
        return function(of, chosen)

    return limited


def _rounded(number: Any, digits: Any = None) -> Any:
    if digits is not None and (not isinstance(digits, int) or abs(digits) > 300):
        raise _NotAllowed("round takes up to 300 digits")
    return round(number, digits)


def _whole(value: Any) -> int:
    return int(_number(value))


def _fraction(value: Any) -> float:
    return float(_number(value))


def _plain_sum(*values: Any) -> Any:
    return sum(_number(item) for item in _items(values))


def _mean(*values: Any) -> Any:
    items = _items(values)
    return _plain_sum(items) / len(items)


def _items(values: tuple[Any, ...]) -> list[Any]:
    return cast("list[Any]", values[0]) if len(values) == 1 and isinstance(values[0], list) else [*values]


_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: lambda a, b: a // b,
    ast.Mod: lambda a, b: a % b,
    ast.Pow: _power,
    ast.BitAnd: lambda a, b: a & b,
    ast.BitOr: lambda a, b: a | b,
    ast.LShift: _shift,
    ast.RShift: lambda a, b: a >> b,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(math, name)
        for name in [
            "sqrt",
            "exp",
            "log",
            "log2",
            "log10",
            "log1p",
            "sin",
            "cos",
            "tan",
            "asin",
            "acos",
            "atan",
            "atan2",
            "sinh",
            "cosh",
            "tanh",
            "degrees",
            "radians",
            "floor",
            "ceil",
            "trunc",
            "hypot",
            "gcd",
            "fabs",
            "copysign",
            "isqrt",
            "cbrt",
        ]
    },
    "abs": abs,
    "round": _rounded,
    "min": min,
    "max": max,
    "sum": _plain_sum,
    "mean": _mean,
    "pow": _power,
    "int": _whole,
    "float": _fraction,
    "ln": math.log,
    "factorial": _factorial,
    "comb": _choose(math.comb),
    "perm": _choose(math.perm),
    "mod": math.fmod,
}
