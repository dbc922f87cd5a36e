"""A PostgreSQL server of one's own: a cluster in a temporary folder, on a free loopback port, without passwords."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import asyncpg

from perdure_worker.server import LOOPBACK, free_port

START_LIMIT_S = 30.0
_USERS = ("postgres", "nobody")


def binaries() -> Path | None:
    """Find the folder of the newest installed server; None when there is none, or nobody to run it as."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    usable = [path for path in folders if (path / "initdb").exists() and (path / "postgres").exists()]
    found = usable[-1] if usable else None
    if found is None and (on_path := shutil.which("initdb")):
        found = Path(on_path).parent
    return found if found is None or _as_user() is not None else None


def _as_user() -> list[str] | None:
    """Give what goes before a command so that it does not run as root, which the server refuses."""
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    for name in _USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        if setpriv is not None:
            return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    return None


class Postgres:
    """A server that can be stopped, started again and made to hang."""

    def __init__(self, folder: Path, bin_dir: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._bin = bin_dir
        self._before = _as_user() or []
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] = (folder / "log").open("ab")

    def init(self) -> None:
        """Make the cluster."""
        if os.getuid() == 0:
            shutil.chown(self.folder, user=int(self._before[1].partition("=")[2]))
        argv = [str(self._bin / "initdb"), "-D", str(self.folder / "data"), "-U", "perdure"]
        argv += ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*self._before, *argv], check=True, stdout=self._log, stderr=self._log, cwd=self.folder)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "60",
            "shared_buffers": "16MB",
        }
        argv = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port)]
        argv += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [*self._before, *argv], stdout=self._log, stderr=self._log, cwd=self.folder, start_new_session=True
        )
        ready = [str(self._bin / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)]
        deadline = time.monotonic() + START_LIMIT_S
        while subprocess.run(ready, check=False, cwd=self.folder).returncode != 0:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as an operator would, ending its connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Keep every process of it from running, so that connections hang instead of failing."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        pids = [int(pid) for pid in self._children()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in (*pids, self._process.pid):
                os.kill(pid, signal.SIGCONT)

    def _children(self) -> list[str]:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()

    def url(self, database: str) -> str:
        """Write the URL of a database of it."""
        return f"postgresql://perdure@{LOOPBACK}:{self.port}/{database}"

    async def new_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"d{uuid.uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server for the length of the block."""
    bin_dir = binaries()
    assert bin_dir is not None
    folder = Path(tempfile.mkdtemp(prefix="perdure-pg-"))
    server = Postgres(folder, bin_dir)
    try:
        server.init()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
