"""Handler of the jailed CPython child: run one snippet's `main(**inputs)`. Loaded by `child_main.py` only.

Replies `{"result": text}` or `{"error": kind, "message": text}`.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import traceback
import types
from typing import Any

FILE = "code.py"


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Run a snippet and encode what `main` returned."""
    try:
        result = _run(request["code"], request["inputs"])
    except MemoryError:
        return {"error": "memory", "message": ""}
    except BaseException as error:
        return {"error": "raised", "message": _describe(error)}
    try:
        text = json.dumps(result, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
    except MemoryError:
        return {"error": "memory", "message": ""}
    except BaseException as error:
        return {"error": "not_json", "message": _one_line(error)}
    if size > request["max_output_bytes"]:
        return {"error": "too_large", "message": ""}
    return {"result": text}


def _run(code: str, inputs: dict[str, Any]) -> Any:
    linecache.cache[FILE] = (len(code), None, code.splitlines(keepends=True), FILE)
    # A module of its own: dataclasses and pickle look a class's module up by name.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(code, FILE, "exec"), module.__dict__)  # noqa: S102 - this is what the jail is for
    main = module.__dict__.get("main")
    if main is None:
        raise NameError("the code defines no function `main`")
    return main(**inputs)


def _one_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def _describe(error: BaseException) -> str:
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != FILE:
            trace = trace.tb_next
        lines = traceback.format_exception(type(error), error, trace, limit=-12)
        text = "".join(lines) if trace is not None else _one_line(error)
        return text.replace(os.path.dirname(os.__file__) + "/", "").strip()[-4_000:]  # noqa: PTH120 - start time
    except BaseException:
        return type(error).__name__
