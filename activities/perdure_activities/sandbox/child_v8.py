"""Handler of the JavaScript child: run one snippet's `main({...})` in V8. Loaded by `child_main.py` only.

Replies `{"result": text}` or `{"error": kind, "message": text}`. The child answers one request and ends.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from py_mini_racer import JSEvalException, JSOOMException, JSPromise, JSPromiseError, mini_racer

_CALL = """
(() => {{
  if (typeof main !== 'function') throw new TypeError('the code defines no function `main`');
  const told = value => {{
    const text = JSON.stringify(value);
    if (text === undefined) throw new TypeError('`main` returned ' + typeof value + ', which is not JSON');
    return text;
  }};
  const value = main(JSON.parse({inputs}));
  return value !== null && typeof value === 'object' && typeof value.then === 'function'
    ? Promise.resolve(value).then(told) : told(value);
}})()
"""


def handle(request: dict[str, Any]) -> dict[str, Any]:
    """Run a snippet and give the JSON text of what `main` returned or resolved to."""
    reply = asyncio.run(_run(request))
    reply["exit"] = True
    return reply


async def _run(request: dict[str, Any]) -> dict[str, Any]:
    with mini_racer() as v8:
        v8.set_hard_memory_limit(request["memory_mb"] * 1024 * 1024)
        try:
            v8.eval(request["code"])
            value = v8.eval(_CALL.format(inputs=json.dumps(json.dumps(request["inputs"]))))
            text = await value if isinstance(value, JSPromise) else value
        except JSOOMException:
            return {"error": "memory", "message": ""}
        except (JSEvalException, JSPromiseError) as error:
            message = str(error).strip()
            return {"error": "memory" if "buffer allocation failed" in message else "raised", "message": message}
        if not isinstance(text, str):
            return {"error": "raised", "message": "`main` returned no JSON"}
        if len(text.encode("utf-8", "surrogatepass")) > request["max_output_bytes"]:
            return {"error": "too_large", "message": ""}
        return {"result": text}
