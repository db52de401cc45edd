"""Web servers of this process, on free ports of this machine, which say nothing on standard error."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any


class WebServer(ThreadingHTTPServer):
    """Answers in threads that nobody waits for; many clients may knock at a time."""

    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Clients go away. A thread that tells so late would tell it in the middle of another test."""


@contextmanager
def answering(server: WebServer) -> Iterator[str]:
    """Let a server answer while the block runs; yields its address."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def serving(handler: Callable[..., Any]) -> Iterator[str]:
    """Let a handler of requests answer while the block runs; yields the address of its server."""
    with answering(WebServer(("127.0.0.1", 0), handler)) as address:
        yield address
