"""Serve the review page to a browser on this machine, until somebody ends it."""

import socket
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import uvicorn

from dicomsort.errors import TargetError, UsageError
from dicomsort.review.app import ReviewApp, page_files
from dicomsort.review.desk import Desk
from dicomsort.review.guard import Session
from dicomsort.review.thumbnails import Pictures

HOST = "127.0.0.1"
_TEXT_BROWSERS = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})
"""They would take the terminal, and show no picture."""

_KEEP_ALIVE, _LAST_ANSWERS = 75, 3  # seconds


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How the page is served. port: 0 for a free one; browser: whether to open one."""

    port: int = 0
    browser: bool = True


def serve(desk: Desk, pictures: Pictures, settings: ServeSettings, tell: Callable[[str], None]) -> int:
    """Serve the page until SIGINT or SIGTERM comes; returns how many decisions were taken.

    tell: gets the address, which lets one browser in. Raises UsageError if the port is taken.
    """
    with _listening(settings.port) as listener:
        port = int(listener.getsockname()[1])
        session, app = Session(port), ReviewApp(desk, pictures, page_files())
        with suppress(KeyboardInterrupt):
            address = f"http://{HOST}:{port}/?token={session.token}"
            tell(address)
            if settings.browser:
                threading.Thread(target=_open, args=(address,), daemon=True).start()
            app.expect_someone()
            uvicorn.Server(_config(app, session)).run([listener])
    return app.decided


def _listening(port: int) -> socket.socket:
    """Return a socket at which a browser may already knock.

    Its protocol is named, for asyncio lets small answers go at once (TCP_NODELAY) only where it is.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError as error:
        listener.close()
        if port:
            raise UsageError(f"--port {port} cannot be used: {error.strerror}; leave it out") from error
        raise TargetError(f"no port of {HOST} can be used: {error.strerror}") from error
    return listener


def _config(app: ReviewApp, session: Session) -> uvicorn.Config:
    """Return how uvicorn runs: it logs nothing, believes no proxy, and speaks plain HTTP alone."""
    return uvicorn.Config(
        app.guarded(session),
        http="h11",
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
    )


def _open(address: str) -> None:
    """Show the address in the browser, if there is one with windows."""
    with suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if getattr(browser, "name", "") not in _TEXT_BROWSERS:
            browser.open(address)
