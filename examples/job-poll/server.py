"""A job server on loopback: it counts words, slowly.

    python examples/job-poll/server.py 8078

| request | answer |
|---|---|
| `POST /jobs` with a text | 202, `Location` of the job; an `Idempotency-Key` used before gives the job made then |
| `GET /jobs/<id>?wait=<seconds>` | status and progress after that wait; each look does a quarter of the work |
| `GET /jobs/<id>/result` | the result, 409 while the job runs |
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

POLLS_NEEDED = 4
MAX_WAIT_S = 5.0


@dataclass
class Job:
    """One job and how often somebody asked for it."""

    id: str
    key: str
    text: str
    polls: int = 0

    @property
    def done(self) -> bool:
        """Whether the result is there."""
        return self.polls >= POLLS_NEEDED

    def shown(self) -> dict[str, object]:
        """What a poll answers."""
        status = "done" if self.done else "running" if self.polls else "queued"
        return {"id": self.id, "status": status, "progress": min(100, 100 * self.polls // POLLS_NEEDED)}

    def result(self) -> dict[str, object]:
        """Count the words."""
        words = re.findall(r"[a-z']+", self.text.lower())
        common = min(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]), default=("", 0))
        return {"words": len(words), "most_common": common[0]}


class JobServer(ThreadingHTTPServer):
    """Keeps the jobs."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.jobs: dict[str, Job] = {}
        self.lock = threading.Lock()

    @property
    def address(self) -> str:
        """`host:port`, as `PERDURE_HTTP_ALLOW` wants it."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://{self.address}"

    def take(self, key: str, text: str) -> Job:
        """Make a job, unless the key has made one before."""
        with self.lock:
            known = next((job for job in self.jobs.values() if key and job.key == key), None)
            job = known or Job(id=f"job-{len(self.jobs) + 1}", key=key, text=text)
            self.jobs[job.id] = job
            return job


class _Handler(BaseHTTPRequestHandler):
    server: JobServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a job."""
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        if self.path != "/jobs":
            self._reply(404, {"error": "not found"})
            return
        job = self.server.take(self.headers.get("Idempotency-Key") or "", text)
        self._reply(202, job.shown(), Location=f"{self.server.url}/jobs/{job.id}")

    def do_GET(self) -> None:
        """Show a job or its result."""
        target = urlsplit(self.path)
        parts = target.path.strip("/").split("/")
        job = self.server.jobs.get(parts[1]) if len(parts) > 1 and parts[0] == "jobs" else None
        match parts[2:], job:
            case [], Job():
                wait = parse_qs(target.query).get("wait", ["0"])[0]
                time.sleep(min(MAX_WAIT_S, max(0.0, float(wait))))
                with self.server.lock:
                    job.polls += 1
                    shown = job.shown()
                self._reply(200, shown)
            case ["result"], Job(done=True):
                self._reply(200, job.result())
            case ["result"], Job():
                self._reply(409, {"error": "still running"})
            case _:
                self._reply(404, {"error": "not found"})

    def _reply(self, status: int, value: object, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for whoever started the server."""


@contextmanager
def serve(port: int = 0) -> Generator[JobServer]:
    """Serve on a thread until the block ends; port 0 takes a free one."""
    with JobServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with JobServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8078) as running:
        print(f"{running.url}; let workers in with PERDURE_HTTP_ALLOW={running.address}")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
