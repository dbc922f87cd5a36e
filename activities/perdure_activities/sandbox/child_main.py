"""The program of every sandbox child: take limits, load one handler, answer framed requests until end of input.

Run as `python -I -S child_main.py HANDLER CONFIG`; never imported by the worker. A frame is a 4-byte length and
JSON. CONFIG is JSON: `limits` (name of a resource limit -> value), `path` (import folders), `parent` (end when this
process is gone; 0 where a jail sees to it). The handler is a file that defines `handle(request) -> reply`.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def set_limits(limits: dict[str, int]) -> None:
    """Set hard limits, never above what already holds."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is None:
            continue
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (allowed, allowed))
        except (ValueError, OSError):
            # Some systems (macOS) refuse some limits; the others still hold.
            continue


def die_with(parent: int) -> None:
    """Let the kernel end this process together with its parent, even after kill -9 of the parent."""
    if not parent:
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError):
        # End of input and the alarm of each request end it then.
        return
    if os.getppid() != parent:
        os._exit(0)


def read_exactly(source: int, size: int) -> bytes:
    """Read so many bytes; end the process at the end of input."""
    parts: list[bytes] = []
    while size:
        part = os.read(source, min(size, 1 << 20))
        if not part:
            os._exit(0)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_frame(target: int, payload: bytes) -> None:
    """Write one frame."""
    view = memoryview(struct.pack("!I", len(payload)) + payload)
    while view:
        view = view[os.write(target, view) :]


def load(path: str) -> Any:
    """Run the handler's file and give its `handle`."""
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib doubles the start time
        source = file.read()
    namespace: dict[str, Any] = {"__name__": "perdure_child", "__file__": path}
    exec(compile(source, path, "exec"), namespace)  # noqa: S102 - our own file
    return namespace["handle"]


def serve(handler: str, config: dict[str, Any]) -> None:
    """Answer requests until the input ends or a reply says `exit`."""
    source, target = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.close(nothing)
    sys.path[:0] = config["path"]
    handle = load(handler)
    write_frame(target, b"")
    while True:
        (size,) = struct.unpack("!I", read_exactly(source, 4))
        request = json.loads(read_exactly(source, size))
        # Default action of SIGALRM: the end. It bounds a child whose parent vanished.
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + 5.0)
        reply = handle(request)
        write_frame(target, json.dumps(reply, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        if reply.get("exit"):
            os._exit(0)


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    die_with(options["parent"])
    set_limits(options["limits"])
    serve(sys.argv[1], options)
