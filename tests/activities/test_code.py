"""Code nodes: engines, exact values, failures, concurrency, clean-up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from perdure_activities.code import execute_code, run_code
from perdure_activities.sandbox import close_pools, jail, results, seccomp, warm_pools
from perdure_graph.effects import CodeResult, RenderTemplate, RunCode

TYPICAL = """
def main(s, n):
    n = n or 0
    return {'s': s + '!', 'n': n * 2, 'f': n + 0.5, 'b': n > 3, 'l': [s, 'x'], 'd': {'k': s}}
"""


@pytest.fixture(scope="module", autouse=True)
async def pools() -> AsyncIterator[None]:
    yield
    await close_pools()


@pytest.fixture
async def cpython() -> None:
    if not await jail.usable():
        pytest.skip("bubblewrap is not usable on this machine")


def request(code: str, /, language: Any = "python3", timeout_s: float = 10.0, **inputs: Any) -> RunCode:
    return RunCode(language=language, code=textwrap.dedent(code), inputs=inputs, timeout_s=timeout_s)


async def run(code: str, /, **more: Any) -> CodeResult:
    return await execute_code(request(code, **more))


async def failure(code: str, /, **more: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await run(code, **more)
    return caught.value


async def test_typical_snippet_runs_in_monty() -> None:
    reply = await run(TYPICAL, s="a", n=4)
    assert reply.engine == "monty"
    assert reply.result == {"s": "a!", "n": 8, "f": 4.5, "b": True, "l": ["a", "x"], "d": {"k": "a"}}
    assert (await run(TYPICAL, s="a", n=None)).result["n"] == 0  # type: ignore[index]


async def test_common_modules_run_in_monty() -> None:
    code = """
    import json, re, math, datetime
    def main(text):
        print("never seen")
        found = re.findall(r"\\d+", text)
        day = datetime.date(2024, 2, 28) + datetime.timedelta(days=2)
        again = json.loads(json.dumps({"k": [1, None]}))
        return {"found": found, "root": math.sqrt(16), "day": day.isoformat(), "again": again}
    """
    reply = await run(code, text="a1b22")
    assert reply.engine == "monty"
    assert reply.result == {"found": ["1", "22"], "root": 4.0, "day": "2024-03-01", "again": {"k": [1, None]}}


VALUES = {
    "int": 1,
    "float": 5.0,
    "negative zero": -0.0,
    "large": 10**25,
    "tiny": 5e-324,
    "true": True,
    "none": None,
    "text": 'é "\\ \x00 \u2028 😀',
    "nested": [[], {}, [{"a": [1, 2.0, False]}]],
}
IDENTITIES = {
    "monty": "def main(value):\n    return {'value': value}",
    "cpython": "def same():\n    yield True\ndef main(value):\n    return {'value': value}",
}


@pytest.mark.parametrize("engine", ["monty", "cpython"])
async def test_values_survive_exactly(engine: str, request: pytest.FixtureRequest) -> None:
    if engine == "cpython" and not await jail.usable():
        pytest.skip("bubblewrap is not usable on this machine")
    reply = await run(IDENTITIES[engine], value=VALUES)
    assert reply.engine == engine
    # repr tells 1 from 1.0 and True, and 0.0 from -0.0.
    assert repr(reply.result) == repr({"value": VALUES})


SECOND_ENGINE = {
    "yield": "def numbers():\n    yield 1\n    yield 2\ndef main():\n    return {'r': list(numbers())}",
    "urllib": "from urllib.parse import quote\ndef main():\n    return {'r': quote('a b/c')}",
    "statistics": "import statistics\ndef main():\n    return {'r': statistics.mean([1, 2, 6])}",
    "csv": "import csv, io\ndef main():\n    return {'r': list(csv.reader(io.StringIO('a,b')))}",
    "threads": (
        "import threading, urllib\ndef main():\n    done = []\n"
        "    t = threading.Thread(target=done.append, args=(1,))\n    t.start()\n    t.join()\n    return {'r': done}"
    ),
    "dataclass": (
        "from __future__ import annotations\nimport statistics\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    x: int\ndef main():\n    return {'r': P(3).x}"
    ),
}
SECOND_RESULTS = {
    "yield": [1, 2],
    "urllib": "a%20b/c",
    "statistics": 3,
    "csv": [["a", "b"]],
    "threads": [1],
    "dataclass": 3,
}


@pytest.mark.parametrize("name", SECOND_ENGINE)
async def test_what_monty_lacks_runs_in_cpython(name: str, cpython: None) -> None:
    reply = await run(SECOND_ENGINE[name])
    assert (reply.engine, reply.result) == ("cpython", {"r": SECOND_RESULTS[name]})


async def test_traceback_is_that_of_python(cpython: None) -> None:
    error = await failure("def half(x):\n    return 1 / x\n\ndef main(x):\n    return {'r': half(x)}", x=0)
    assert error.type == "CodeExecutionError" and error.non_retryable
    assert error.message.startswith("Traceback (most recent call last):")
    assert error.message.endswith("ZeroDivisionError: division by zero")
    assert 'File "code.py", line 2, in half' in error.message
    assert "child_main" not in error.message and sys.base_prefix not in error.message


BROKEN = {
    "no main": ("x = 1", "defines no function `main`"),
    "missing argument": ("def main(a, b):\n    return {}", "missing 2 required positional arguments"),
    "syntax": ("def main(:\n    return {}", "SyntaxError"),
    "set": ("def main():\n    return {1, 2}", "not JSON"),
    "object": ("class A:\n    pass\ndef main():\n    return {'a': A()}", "not JSON"),
    "nan": ("def main():\n    return {'a': float('nan')}", "not JSON"),
    "infinite": ("def main():\n    return {'a': float('-inf')}", "not JSON"),
    "own error": ("def main():\n    raise ValueError('my words')", "ValueError: my words"),
    "exit": ("import sys\ndef main():\n    sys.exit(3)", "SystemExit: 3"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_snippets_say_why(name: str, cpython: None) -> None:
    code, words = BROKEN[name]
    error = await failure(code)
    assert error.type == "CodeExecutionError" and error.non_retryable
    assert words in error.message


async def test_results_other_than_dicts_come_back_as_they_are() -> None:
    assert (await run("def main():\n    return 'text'")).result == "text"
    assert (await run("def main():\n    return None")).result is None


async def test_too_large_and_too_deep_results_fail() -> None:
    error = await failure("def main():\n    return {'a': 'x' * 2_000_000}")
    assert error.type == "CodeOutputError" and "1000000 bytes" in error.message
    error = await failure("def main():\n    a = []\n    for i in range(300):\n        a = [a]\n    return {'a': a}")
    assert error.type == "CodeOutputError" and "nested" in error.message


@pytest.mark.parametrize("text", ["{", "[NaN]", '{"a": "\\ud800"}', "[" * 5_000, '"\xff"'])
def test_a_hostile_result_text_is_refused(text: str) -> None:
    with pytest.raises(results.SandboxFailure, match="result of `main`"):
        results.parse_result(text.encode("latin-1"), 1_000_000)


async def test_without_bubblewrap_the_failure_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    await close_pools()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(jail, "_usable", None)
    try:
        assert not await jail.usable()
        error = await failure(SECOND_ENGINE["yield"])
        assert error.type == "CodeSandboxError" and "yield" in error.message
        assert "install bubblewrap" in error.message and "rewrite the code without `yield" in error.message
        error = await failure(SECOND_ENGINE["statistics"])
        assert "`import statistics`" in error.message
        error = await failure("def main(x):\n    return {'r': 1 / x}", x=0)
        assert error.type == "CodeExecutionError" and error.message.endswith("ZeroDivisionError: division by zero")
        assert 'File "code.py", line 2, in main' in error.message and "_perdure" not in error.message
        assert (await run(TYPICAL, s="a", n=1)).engine == "monty"
        assert (await run("function main({a}) { return {a} }", language="javascript", a=1)).result == {"a": 1}
    finally:
        await close_pools()
        monkeypatch.setattr(jail, "_usable", None)


SCRIPTS = {
    "plain": ("function main({a, b}) { return {sum: a + b, b: true, n: null} }", {"sum": 3.5, "b": True, "n": None}),
    "arrow": ("const main = (inputs) => ({sum: inputs.a + inputs.b})", {"sum": 3.5}),
    "async": ("async function main({a}) { await new Promise(r => setTimeout(r, 5)); return {a} }", {"a": 1}),
    "console": (
        "function main() { console.log('x'); return {r: typeof require + typeof fetch} }",
        {"r": "undefined" * 2},
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_javascript(name: str) -> None:
    code, expected = SCRIPTS[name]
    reply = await run(code, language="javascript", a=1, b=2.5)
    assert (reply.engine, reply.result) == ("v8", expected)


BROKEN_SCRIPTS = {
    "throws": ("function main() { throw new Error('boom') }", "Error: boom"),
    "rejects": ("async function main() { throw new Error('boom') }", "Error: boom"),
    "syntax": ("function main( {", "SyntaxError"),
    "no main": ("let x = 1", "defines no function `main`"),
    "undefined": ("function main() { }", "returned undefined"),
}


@pytest.mark.parametrize("name", BROKEN_SCRIPTS)
async def test_broken_scripts_say_why(name: str) -> None:
    code, words = BROKEN_SCRIPTS[name]
    error = await failure(code, language="javascript")
    assert error.type == "CodeExecutionError" and error.non_retryable
    assert words in error.message


async def test_two_hundred_snippets_at_once() -> None:
    code = "def main(i):\n    return {'i': i, 'square': i * i}"
    replies = await asyncio.gather(*(run(code, i=i) for i in range(200)))
    assert [reply.result for reply in replies] == [{"i": i, "square": i * i} for i in range(200)]


async def test_the_activity_heartbeats_and_is_cancelled_promptly() -> None:
    environment = ActivityEnvironment()
    beats: list[object] = []
    environment.on_heartbeat = lambda *details: beats.append(details)
    task = asyncio.create_task(environment.run(run_code, request("def main():\n    while True: pass", timeout_s=60)))
    while not beats:
        await asyncio.sleep(0.01)
    environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)


def _offspring() -> dict[int, psutil.Process]:
    return {child.pid: child for child in psutil.Process().children(recursive=True)}


async def _gone(processes: dict[int, psutil.Process]) -> bool:
    for _ in range(100):
        left = [p for p in processes.values() if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        if not left:
            return True
        await asyncio.sleep(0.05)
    return False


ENDLESS = {
    "monty": ("python3", "def main():\n    while True: pass"),
    "cpython": ("python3", "import statistics\ndef main():\n    while True: pass"),
    "v8": ("javascript", "function main() { while (true) {} }"),
}


@pytest.mark.parametrize("engine", ENDLESS)
async def test_cancelling_ends_the_processes(engine: str) -> None:
    language, code = ENDLESS[engine]
    await close_pools()
    before = _offspring()
    task = asyncio.create_task(run(code, language=language, timeout_s=60))
    await asyncio.sleep(0.8)
    started = {pid: child for pid, child in _offspring().items() if pid not in before}
    assert started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await close_pools()
    assert await _gone(started)


async def test_no_child_survives_close_pools() -> None:
    before = _offspring()
    await warm_pools()
    running = [asyncio.create_task(run(code, language=language, timeout_s=60)) for language, code in ENDLESS.values()]
    await asyncio.sleep(0.8)
    started = {pid: child for pid, child in _offspring().items() if pid not in before}
    assert len(started) >= len(ENDLESS)
    await close_pools()
    ended = await asyncio.gather(*running, return_exceptions=True)
    assert all(isinstance(error, ApplicationError) and not error.non_retryable for error in ended)
    assert await _gone(started)
    assert (await run(TYPICAL, s="a", n=1)).engine == "monty"


WORKER = """
import asyncio, os, signal
import psutil
from perdure_graph.effects import RenderTemplate, RunCode
from perdure_activities.sandbox import execute, render_text

async def main():
    endless = "def main():\\n    while True: pass"
    loops = {"python3": [endless, "import statistics\\n" + endless],
             "javascript": ["function main() { while (true) {} }"]}
    template = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    tasks = [asyncio.create_task(execute(RunCode(language=l, code=c, inputs={}, timeout_s=50)))
             for l, codes in loops.items() for c in codes]
    tasks.append(asyncio.create_task(render_text(RenderTemplate(template=template, variables={}, timeout_s=50))))
    await asyncio.sleep(1.5)
    print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_no_child_survives_kill_9_of_the_worker(cpython: None) -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", WORKER], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -9, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    assert len(pids) >= 4
    alive = {pid: psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)}
    assert await _gone(alive)


def test_the_filter_is_built_for_known_machines_only() -> None:
    for machine in ("x86_64", "aarch64"):
        program = seccomp.build(machine)
        assert program is not None and len(program) % 8 == 0
        # Every jump of a filter must land inside it, or the kernel refuses it.
        count = len(program) // 8
        for index in range(count):
            code, jump_true, jump_false = program[index * 8], program[index * 8 + 2], program[index * 8 + 3]
            assert code & 0x07 != 0x05 or index + 1 + max(jump_true, jump_false) < count
    assert seccomp.build("pdp11") is None


def test_the_budget_covers_both_engines() -> None:
    assert request("", timeout_s=10).budget_s() > 20
    assert RenderTemplate(template="", variables={}).budget_s() > 5
    assert Path(jail.interpreter()).exists()
