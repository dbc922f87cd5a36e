"""The server: requests read, answered by plan, noted in the journal; and its controls, under `/__`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from fnmatch import fnmatchcase

from .answering import Answering
from .errors import Problem, refusal
from .http import BadRequest, ClientGone, Connection, Request
from .journal import Journal
from .plans import Plan, Send, encoded
from .play import Sent, play
from .routes import api_key, body_of, key_name, route_of
from .script import Script


class FakeServer:
    """A server on a port of this machine. `base` is its URL, once it has started."""

    def __init__(self, script: Script | None = None) -> None:
        self.base = ""
        self.journal = Journal()
        self._answering = Answering(script or Script(), "")
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        """Listen; any free port by default."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._serve, self._tasks), "127.0.0.1", port, backlog=1024
        )
        self.base = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.load(self._answering.script)

    async def stop(self) -> None:
        """Stop listening, and end what is being served."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def load(self, script: Script) -> None:
        """Take a script; nothing of it is used up yet.

        Raises:
            ValueError: it names a fault that there is not.
        """
        self._answering = Answering(script, self.base)

    async def _serve(self, connection: Connection) -> None:
        try:
            while await self._exchange(connection, await connection.request()):
                pass
        except ClientGone:
            pass
        except BadRequest as error:
            problem = Problem(400, f"The request cannot be read: {error}.")
            with suppress(ClientGone):
                await play(connection, refusal(problem, anthropic=False), Sent())
        finally:
            connection.close()

    async def _exchange(self, connection: Connection, request: Request) -> bool:
        """Answer one request; tells whether the connection goes on."""
        if request.path.startswith("/__"):
            await play(connection, self._controlled(request), Sent())
            return True
        if request.method == "HEAD":
            # It asks nothing of a model: clients open a connection with it before they need one.
            await play(connection, Plan((), status=404), Sent())
            return True
        now = asyncio.get_running_loop().time()
        route = route_of(request)
        journal, answering = self.journal, self._answering
        body = body_of(request)
        shown = {} if isinstance(body, Problem) else body
        entry = journal.open(route.wire if route else "", request, key_name(api_key(request)), shown)
        plan, bill = answering.plan(request, route, body, entry, now)
        entry.status = None if plan.silent else plan.status
        sent, gone = Sent(), True
        left = answering.limiter.key(entry.key, now)
        left.active += 1
        try:
            await play(connection, plan, sent)
            gone = False
        finally:
            left.active -= 1
            journal.close(entry, sent, bill, whole=plan.whole, gone=gone)
        if plan.ending == "reset":
            connection.reset()
        asked_to = request.headers.get("connection", "").lower() == "close"
        return plan.ending == "keep" and plan.framing != "close" and not asked_to

    def _controlled(self, request: Request) -> Plan:
        match request.method, request.path:
            case "POST", "/__script":
                try:
                    self.load(Script.model_validate_json(request.body))
                except ValueError as error:
                    return Plan((Send(encoded({"error": str(error)})),), status=400)
                return Plan((Send(b"{}"),))
            case "POST", "/__reset":
                self.journal = Journal()
                self.load(self._answering.script)
                return Plan((Send(b"{}"),))
            case "GET", "/__journal":
                since = request.query.get("since", "0")
                entries = self.journal.since(int(since) if since.isdecimal() else 0)
                model = request.query.get("model", "*")
                entries = [entry for entry in entries if fnmatchcase(entry.model, model)]
                return Plan((Send(encoded([entry.model_dump(mode="json") for entry in entries])),))
            case _:
                return Plan((Send(encoded({"error": f"there is no control {request.path!r}"})),), status=404)
