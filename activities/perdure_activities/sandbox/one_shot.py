"""Run one snippet in a child of its own and turn its reply, or its death, into a result or a failure."""

from __future__ import annotations

import signal
from collections.abc import Callable

from pydantic import JsonValue

from perdure_graph.effects import RunCode

from .child import ChildSpec, ReplyTooLarge
from .failures import ChildCrashed, SandboxFailure, not_json, out_of_memory, timed_out, too_large
from .pool import ChildPool
from .results import parse_result

_SHELL_SIGNAL_BASE = 128
_QUOTING = 2
_ERROR_BYTES = 65_536

DeathJudge = Callable[[int], SandboxFailure | None]


async def run_once(pool: ChildPool, spec: ChildSpec, request: RunCode, judge_death: DeathJudge) -> JsonValue:
    """Run the snippet of a request; `judge_death` says what the exit status of a silent child means.

    Raises:
        SandboxFailure: the snippet failed, its type says how.
        ChildCrashed: the process was killed from outside.
    """
    fields = request.model_dump(include={"code", "inputs", "max_output_bytes", "memory_mb"})
    limit = request.max_output_bytes
    try:
        async with pool.lend(spec) as child:
            reply = await child.exchange(fields, timeout_s=request.timeout_s, max_reply=_QUOTING * limit + _ERROR_BYTES)
    except TimeoutError:
        raise timed_out(request.timeout_s) from None
    except ReplyTooLarge:
        raise too_large(limit) from None
    except ChildCrashed as crash:
        raise _judge(crash, request, judge_death) from None
    return _read(reply, request)


def _judge(crash: ChildCrashed, request: RunCode, judge_death: DeathJudge) -> Exception:
    if crash.returncode is None:
        return crash
    # bubblewrap reports the death of its command the way a shell does; a bare child has a negative status.
    code = crash.returncode
    number = -code if code < 0 else code - _SHELL_SIGNAL_BASE
    if number == signal.SIGXCPU:
        return timed_out(request.timeout_s)
    if number == signal.SIGKILL:
        return crash
    return judge_death(number) or crash


def _read(reply: dict[str, object], request: RunCode) -> JsonValue:
    text = reply.get("result")
    if isinstance(text, str):
        return parse_result(text.encode("utf-8", "surrogatepass"), request.max_output_bytes)
    message = str(reply.get("message", ""))
    match reply.get("error"):
        case "raised":
            raise SandboxFailure("CodeExecutionError", message)
        case "not_json":
            raise not_json(message)
        case "memory":
            raise out_of_memory(request.memory_mb)
        case "too_large":
            raise too_large(request.max_output_bytes)
        case _:
            raise ChildCrashed("a sandbox process wrote something that is no reply")
