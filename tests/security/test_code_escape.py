"""Hostile code: what it may not see, and what must end it. Each snippet runs in both Python engines."""

from __future__ import annotations

import os
import socket
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from perdure_activities.code import execute_code
from perdure_activities.sandbox import close_pools, jail
from perdure_graph.effects import CodeResult, RunCode

# Monty has no generators: a snippet with one ends up in CPython.
TO_CPYTHON = "def _generator():\n    yield\n"


@pytest.fixture(scope="module", autouse=True)
async def pools() -> AsyncIterator[None]:
    yield
    await close_pools()


@pytest.fixture(params=["monty", "cpython"])
async def prefix(request: pytest.FixtureRequest) -> str:
    if request.param == "monty":
        return ""
    return TO_CPYTHON


@pytest.fixture(autouse=True)
async def jailed() -> None:
    if not await jail.usable():
        pytest.skip("bubblewrap is not usable on this machine")


async def run(code: str, /, timeout_s: float = 10.0, language: Any = "python3", memory_mb: int = 256) -> CodeResult:
    request = RunCode(
        language=language, code=textwrap.dedent(code), inputs={}, timeout_s=timeout_s, memory_mb=memory_mb
    )
    return await execute_code(request)


async def failure(code: str, /, **more: Any) -> ApplicationError:
    with pytest.raises(ApplicationError) as caught:
        await run(code, **more)
    assert caught.value.non_retryable, caught.value
    return caught.value


async def look(code: str) -> Any:
    """Run code that only CPython runs and give its result."""
    reply = await run(TO_CPYTHON + textwrap.dedent(code))
    assert reply.engine == "cpython"
    return reply.result


async def test_endless_loop(prefix: str) -> None:
    assert (await failure(prefix + "def main():\n    while True: pass", timeout_s=1)).type == "CodeTimeoutError"


async def test_endless_loop_outside_main(prefix: str) -> None:
    assert (await failure(prefix + "while True: pass", timeout_s=1)).type == "CodeTimeoutError"


async def test_loop_that_swallows_every_exception(prefix: str) -> None:
    code = (
        "def main():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    )
    assert (await failure(prefix + code, timeout_s=1)).type == "CodeTimeoutError"


async def test_long_sleep(prefix: str) -> None:
    assert (
        await failure(prefix + "import time\ndef main():\n    time.sleep(600)", timeout_s=1)
    ).type == "CodeTimeoutError"


async def test_ten_gigabytes(prefix: str) -> None:
    code = prefix + "def main():\n    return {'n': len([0] * (10 * 2**30 // 8))}"
    assert (await failure(code)).type == "CodeMemoryError"


async def test_memory_bit_by_bit(prefix: str) -> None:
    code = prefix + "def main():\n    a = []\n    while True: a.append('x' * 1000000)"
    assert (await failure(code)).type == "CodeMemoryError"


async def test_giant_integers(prefix: str) -> None:
    assert (await failure(prefix + "def main():\n    return {'n': 10 ** 100000}")).type == "CodeExecutionError"
    code = prefix + "def main():\n    return {'n': 10 ** 10 ** 10}"
    assert (await failure(code, timeout_s=1)).type in {"CodeMemoryError", "CodeTimeoutError"}


async def test_infinite_recursion(prefix: str) -> None:
    error = await failure(prefix + "def main():\n    return main()")
    assert error.type == "CodeExecutionError" and "RecursionError" in error.message


async def test_crash_of_the_interpreter() -> None:
    error = await failure("import ctypes\ndef main():\n    ctypes.string_at(0)")
    assert error.type == "CodeExecutionError" and "SIGSEGV" in error.message
    error = await failure("import os\ndef main():\n    os._exit(0)")
    assert error.type == "CodeExecutionError" and "before `main` returned" in error.message


async def test_huge_output(prefix: str) -> None:
    assert (await failure(prefix + "def main():\n    return {'a': 'x' * 50_000_000}")).type == "CodeOutputError"


async def test_output_around_the_limits_of_the_child() -> None:
    # The child's own check is in the child's hands: the parent must not read what a forged frame announces.
    code = """
    import os, struct
    def main():
        for fd in range(3, 20):
            try:
                os.write(fd, struct.pack("!I", 2**32 - 1) + b"x" * 1000)
            except OSError:
                pass
    """
    assert (await failure(TO_CPYTHON + textwrap.dedent(code))).type == "CodeOutputError"


async def test_printing_goes_nowhere(prefix: str, capfd: pytest.CaptureFixture[str]) -> None:
    reply = await run(prefix + "def main():\n    for i in range(20000): print('secret' * 10)\n    return {}")
    assert reply.result == {}
    assert "secret" not in "".join(capfd.readouterr())


async def test_fork_bomb() -> None:
    error = await failure(TO_CPYTHON + "import os\ndef main():\n    while True: os.fork()")
    assert "PermissionError" in error.message
    error = await failure(TO_CPYTHON + "import subprocess\ndef main():\n    subprocess.run(['/bin/sh', '-c', 'id'])")
    assert error.type == "CodeExecutionError"


async def test_no_host_files(prefix: str) -> None:
    error = await failure(prefix + "def main():\n    return {'a': open('/etc/passwd').read()}")
    assert "FileNotFoundError" in error.message
    secret = Path(__file__).resolve()
    error = await failure(prefix + f"def main():\n    return {{'a': open({str(secret)!r}).read()}}")
    assert "FileNotFoundError" in error.message


async def test_only_a_handful_of_files_is_there() -> None:
    found = await look("""
    import os
    def main():
        home = [os.path.join(d, f) for d, _, files in os.walk('/root') for f in files] + \
               [os.path.join(d, f) for d, _, files in os.walk('/home') for f in files]
        return {'etc': os.listdir('/etc'), 'home': [f for f in home if '/lib/' not in f and '/bin/python' not in f],
                'proc': os.path.exists('/proc/self'), 'run': os.path.exists('/run'), 'sys': os.path.exists('/sys')}
    """)
    assert set(found.pop("etc")) <= {"ld.so.cache"}
    assert found == {"home": [], "proc": False, "run": False, "sys": False}


async def test_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", "canary")
    found = await look("import os\ndef main():\n    return dict(os.environ)")
    assert set(found) <= {"MALLOC_ARENA_MAX", "PWD", "LC_CTYPE"}


async def test_no_network() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        code = f"import socket\ndef main():\n    socket.create_connection(('127.0.0.1', {port}), 2)"
        error = await failure(TO_CPYTHON + code)
        assert "PermissionError" in error.message
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()
    error = await failure(TO_CPYTHON + "import socket\ndef main():\n    socket.socket(40, socket.SOCK_STREAM)")
    assert "PermissionError" in error.message


async def test_no_new_processes_or_namespaces_by_system_call() -> None:
    found = await look("""
    import ctypes, os
    def main():
        libc = ctypes.CDLL(None, use_errno=True)
        tried = {}
        for name, args in {'unshare': (0x10000000,), 'ptrace': (0, 0, 0, 0), 'chroot': (b'/tmp',)}.items():
            tried[name] = (getattr(libc, name)(*args), ctypes.get_errno())
        return tried
    """)
    assert found == {"unshare": [-1, 1], "ptrace": [-1, 1], "chroot": [-1, 1]}


async def test_files_can_be_written_in_a_small_temporary_folder_only() -> None:
    assert await look("def main():\n    open('/tmp/a', 'w').write('x')\n    return {'a': open('/tmp/a').read()}") == {
        "a": "x"
    }
    assert not Path("/tmp/a").exists() or Path("/tmp/a").read_text() != "x"
    for place in ("/a", "/usr/lib/a", jail.interpreter(), str(Path(os.__file__))):
        error = await failure(TO_CPYTHON + f"def main():\n    open({place!r}, 'a')")
        # Busy: even a writable mount would not let the running interpreter be changed.
        assert any(why in error.message for why in ("Read-only file system", "Permission denied", "Text file busy"))
    filling = "def main():\n    for n in range(1000):\n        with open(f'/tmp/{n}', 'wb') as f: f.write(b'x' * 10**7)"
    assert "No space left" in (await failure(TO_CPYTHON + filling)).message


async def test_limits_cannot_be_raised() -> None:
    error = await failure(
        TO_CPYTHON + "import resource\ndef main():\n    resource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40))"
    )
    assert "not allowed to raise maximum limit" in error.message


async def test_nothing_is_left_for_the_next_snippet() -> None:
    await run("leak = 5\ndef main():\n    return {}")
    assert "leak" in (await failure("def main():\n    return {'a': leak}")).message
    await look("import json\njson.loads = None\nopen('/tmp/leak', 'w').write('x')\ndef main():\n    return {}")
    found = await look(
        "import json, os\ndef main():\n    return {'a': json.loads('1'), 'b': os.path.exists('/tmp/leak')}"
    )
    assert found == {"a": 1, "b": False}


SCRIPTS = {
    "loop": ("function main() { while (true) {} }", {"CodeTimeoutError"}),
    "never settles": ("function main() { return new Promise(() => {}) }", {"CodeTimeoutError"}),
    "heap": (
        "function main() { const a = []; while (true) a.push(new Array(1000).fill(a.length)) }",
        {"CodeMemoryError"},
    ),
    "buffers": (
        "function main() { const a = []; while (true) a.push(new Uint8Array(1e7).fill(1)) }",
        {"CodeMemoryError"},
    ),
    "one buffer": ("function main() { return {n: new ArrayBuffer(1e10).byteLength} }", {"CodeMemoryError"}),
    "recursion": ("function main() { return main() }", {"CodeExecutionError"}),
    "output": ("function main() { return {a: 'x'.repeat(5e6)} }", {"CodeOutputError"}),
    "half a character": ("function main() { return {a: '\\ud800'} }", {"CodeOutputError"}),
    "forged stringify": ("JSON.stringify = () => 'no json'; function main() { return {} }", {"CodeOutputError"}),
    "files": ("function main() { return {a: require('fs')} }", {"CodeExecutionError"}),
    "regular expression": ("function main() { return {a: /(a+)+$/.test('a'.repeat(60) + 'b')} }", {"CodeTimeoutError"}),
}


@pytest.mark.parametrize("name", SCRIPTS)
async def test_hostile_javascript(name: str) -> None:
    code, types = SCRIPTS[name]
    # A heap takes a while to fill; everything else either ends at once or never.
    error = await failure(
        code, language="javascript", timeout_s=20 if "heap" in name or "buffer" in name else 1.5, memory_mb=128
    )
    assert error.type in types


async def test_monty_itself_is_jailed() -> None:
    assert (await run("def main():\n    return {}")).engine == "monty"
    workers = [child for child in psutil.Process().children(recursive=True) if child.name() == "monty"]
    assert workers
    for worker in workers:
        parent = worker.parent()
        assert parent is not None and parent.name() == "bwrap"
        assert Path(f"/proc/{worker.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
