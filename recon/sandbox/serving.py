"""One ASGI application on loopback, served by uvicorn in a thread of this process."""

from __future__ import annotations

import socket
import threading
from email.utils import format_datetime
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from recon.errors import ReconError

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from recon.clock import Clock

_LOOPBACK = "127.0.0.1"
#: Seconds that a server may take to start, and to stop: requests that still run get two of them.
_PATIENCE = 15.0
_GRACE = 2


class Serving:
    """Serves an application until it is stopped.

    The socket is bound before the server starts, so the port is known at once and nobody can take it in between.

    Parameters
    ----------
    app
        The application.
    port
        The port; 0 takes a free one.

    Attributes
    ----------
    url
        The address, like ``http://127.0.0.1:40123``.

    Raises
    ------
    ReconError
        If the port is taken or the server doesn't start.
    """

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._socket = _bound(port)
        self.url = f"http://{_LOOPBACK}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,  # see Dated
            timeout_graceful_shutdown=_GRACE,
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name=f"sandbox {self.url}", daemon=True)
        self._thread.start()
        self._server.ready.wait(_PATIENCE)
        if not self._server.started:
            self.stop()
            raise ReconError(f"the sandbox's server at {self.url} did not start within {_PATIENCE:.0f} seconds")

    def ask_to_stop(self) -> None:
        """Tell the server to stop, without waiting for it."""
        self._server.should_exit = True

    def stop(self) -> None:
        """Stop the server and wait for it. A second call does nothing.

        Raises
        ------
        ReconError
            If it doesn't stop.
        """
        self.ask_to_stop()
        self._thread.join(_PATIENCE)
        self._socket.close()
        if self._thread.is_alive():
            raise ReconError(f"the sandbox's server at {self.url} did not stop within {_PATIENCE:.0f} seconds")

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._server.ready.set()


class _Protocol(H11Protocol):
    """HTTP whose requests know their connection, `scope["state"]["transport"]`: the sandbox's faults break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = self.app_state | {"transport": transport}


class Dated:
    """An application whose answers carry the time of its own clock in the header Date, as servers' answers do.

    Parameters
    ----------
    app
        The application.
    clock
        What it takes for the time.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app, self._clock = app, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = format_datetime(self._clock.now(), usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        await self._app(scope, receive, dated)


class _Server(uvicorn.Server):
    """A server that says when it is ready, or that it never will be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _bound(port: int) -> socket.socket:
    # Named as TCP, so that asyncio sets TCP_NODELAY: else every answer waits 40 ms for a delayed acknowledgement.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # As servers do: a port that was just left can be taken again.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_LOOPBACK, port))
    except (OSError, OverflowError) as error:
        bound.close()
        reason = error.strerror if isinstance(error, OSError) else "ports go from 0 to 65535"
        raise ReconError(
            f"port {port} on {_LOOPBACK} can't be used: {reason}.",
            hint="Choose another port, or 0 for a free one.",
        ) from error
    return bound
