"""`perdure pause`, `resume`, `stop`, `submit`, `approve`, `deny`, `set` and `retry`: command a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from perdure_graph.view import RunView

from .connect import connect, patience, required
from .forms import field_types
from .given import form_values, read_object, read_pairs, read_variables
from .look import show_view
from .output import OK, Output

if TYPE_CHECKING:
    from perdure.handle import RunHandle


async def _give(run_id: str, address: str | None, out: Output, give: Callable[[RunHandle], Awaitable[RunView]]) -> int:
    server = required(address)
    handle = (await connect(server)).run(run_id)
    async with patience(out.note, server) as heard:
        view = await give(handle)
        heard()
    show_view(view, out)
    return OK


async def pause(run_id: str, address: str | None, out: Output, *, reason: str) -> int:
    """Pause a run: nothing new starts, what is in flight finishes."""
    return await _give(run_id, address, out, lambda handle: handle.pause(reason))


async def resume(run_id: str, address: str | None, out: Output) -> int:
    """Let a paused run go on."""
    return await _give(run_id, address, out, lambda handle: handle.resume())


async def stop(run_id: str, address: str | None, out: Output, *, reason: str) -> int:
    """End a run; outputs so far are kept."""
    return await _give(run_id, address, out, lambda handle: handle.stop(reason))


async def submit(run_id: str, form: str, action: str, pairs: list[str], address: str | None, out: Output) -> int:
    """Answer an open form of a run."""
    texts = read_pairs(pairs)

    async def give(handle: RunHandle) -> RunView:
        types: dict[str, str] = {}
        if texts:
            for known in (await handle.status(patient=True)).forms:
                if form in (known.key, known.node_id):
                    types = field_types(known.form)
        return await handle.submit(form, action, form_values(types, texts))

    return await _give(run_id, address, out, give)


async def approve(run_id: str, call: str, arguments: str | None, comment: str, address: str | None, out: Output) -> int:
    """Let a call of a tool be made."""
    given = None if arguments is None else read_object(arguments, "--arguments")
    return await _give(run_id, address, out, lambda handle: handle.approve(call, given, comment=comment))


async def deny(run_id: str, call: str, reason: str, address: str | None, out: Output) -> int:
    """Have a call of a tool not made."""
    return await _give(run_id, address, out, lambda handle: handle.deny(call, reason))


async def set_variables(run_id: str, pairs: list[str], address: str | None, out: Output) -> int:
    """Overwrite variables of a run."""
    variables = read_variables(pairs)
    return await _give(run_id, address, out, lambda handle: handle.set_variables(variables))


async def retry(run_id: str, node: str, outputs: str | None, address: str | None, out: Output) -> int:
    """Run a node again that waits for an operator, or give its outputs."""
    given = None if outputs is None else read_object(outputs, "--outputs")
    return await _give(run_id, address, out, lambda handle: handle.retry(node, given))
