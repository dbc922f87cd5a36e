"""A feed on loopback that behaves like the web: ETags, one entry that is busy at first, one that is gone.

    python examples/feed-digest/server.py 8077

| path | answer |
|---|---|
| `/feed.json` | the JSON feed; 304 when `If-None-Match` names its ETag |
| `/entries/<id>` | one entry; entry 6 answers 503 twice first, entry 7 is 404 |
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FEED = Path(__file__).with_name("feed.json")
BUSY_ID, BUSY_TIMES = "6", 2
GONE_ID = "7"


class FeedServer(ThreadingHTTPServer):
    """Serves the feed; `hits` counts requests by path."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hits: Counter[str] = Counter()
        self.lock = threading.Lock()
        feed = json.loads(FEED.read_text().replace("{base}", self.url))
        self.entries = {item["id"]: item for item in feed["items"]}
        shown = [{key: value for key, value in item.items() if key != "content_text"} for item in feed["items"]]
        self.feed = json.dumps(feed | {"items": shown}).encode()
        self.etag = '"' + hashlib.sha256(FEED.read_bytes()).hexdigest()[:16] + '"'

    @property
    def address(self) -> str:
        """`host:port`, as `PERDURE_HTTP_ALLOW` wants it."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://{self.address}"

    def count(self, path: str) -> int:
        """Count a request and say how many there were for this path."""
        with self.lock:
            self.hits[path] += 1
            return self.hits[path]


class _Handler(BaseHTTPRequestHandler):
    server: FeedServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        nth = self.server.count(self.path)
        match self.path.strip("/").split("/"):
            case ["feed.json"]:
                unchanged = self.headers.get("If-None-Match") == self.server.etag
                self._reply(304 if unchanged else 200, b"" if unchanged else self.server.feed, ETag=self.server.etag)
            case ["entries", entry_id] if entry_id == BUSY_ID and nth <= BUSY_TIMES:
                self._reply(503, b'{"error": "busy"}', Retry_After="1")
            case ["entries", entry_id] if entry_id in self.server.entries and entry_id != GONE_ID:
                self._reply(200, json.dumps(self.server.entries[entry_id]).encode())
            case _:
                self._reply(404, b'{"error": "not found"}')

    def _reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for whoever started the server."""


@contextmanager
def serve(port: int = 0) -> Generator[FeedServer]:
    """Serve on a thread until the block ends; port 0 takes a free one."""
    with FeedServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with FeedServer(int(sys.argv[1]) if len(sys.argv) > 1 else 8077) as running:
        print(f"{running.url}/feed.json; let workers in with PERDURE_HTTP_ALLOW={running.address}")
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
