"""`perdure pause`, `resume`, `stop` and `submit`: command a run."""

from __future__ import annotations

from .connect import connect, required
from .forms import field_types
from .given import form_values, read_pairs
from .look import show_view
from .output import OK, Output


async def pause(run_id: str, address: str | None, out: Output, *, reason: str) -> int:
    """Pause a run: nothing new starts, what is in flight finishes."""
    client = await connect(required(address))
    show_view(await client.run(run_id).pause(reason), out)
    return OK


async def resume(run_id: str, address: str | None, out: Output) -> int:
    """Let a paused run go on."""
    client = await connect(required(address))
    show_view(await client.run(run_id).resume(), out)
    return OK


async def stop(run_id: str, address: str | None, out: Output, *, reason: str) -> int:
    """End a run; outputs so far are kept."""
    client = await connect(required(address))
    show_view(await client.run(run_id).stop(reason), out)
    return OK


async def submit(run_id: str, form: str, action: str, pairs: list[str], address: str | None, out: Output) -> int:
    """Answer an open form of a run."""
    texts = read_pairs(pairs)
    handle = (await connect(required(address))).run(run_id)
    types: dict[str, str] = {}
    if texts:
        for known in (await handle.status()).forms:
            if form in (known.key, known.node_id):
                types = field_types(known.form)
    show_view(await handle.submit(form, action, form_values(types, texts)), out)
    return OK
