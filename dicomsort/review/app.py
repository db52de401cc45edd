"""The requests of the review page, and what is answered: JSON, pictures, and the page itself."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dicomsort import __version__
from dicomsort.errors import DicomsortError, UsageError, internal
from dicomsort.outcome import Failure, Reason
from dicomsort.review.desk import Desk
from dicomsort.review.guard import MOST_BYTES, Application, Guard, Session
from dicomsort.review.index import Filter
from dicomsort.review.items import Item
from dicomsort.review.picture_cache import Answer
from dicomsort.review.thumbnails import Pictures, Subject

MOST_ITEMS = 500
"""Files whose facts are told at a time."""

_FIRST = 60  # about what a screen shows
_PAGE = Path(__file__).parent / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_ITEM = tuple(field.name for field in fields(Item))
_TEXTS = ("label", "reason", "folder", "study", "text", "reviewed")
_ESCAPED = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})
"""What could be taken for HTML stands in JSON as its number."""

Draw = Callable[[Subject], "Future[Answer | None]"]


def page_files() -> dict[str, Response]:
    """Read the files of the page, by name: these are served, and no others."""
    found = sorted(path for path in _PAGE.iterdir() if path.suffix in _KINDS)
    return {path.name: Response(path.read_bytes(), media_type=_KINDS[path.suffix]) for path in found}


class ReviewApp:
    """Answers the requests for one output folder. decided: how many decisions were taken and not undone."""

    def __init__(self, desk: Desk, pictures: Pictures, page: Mapping[str, Response]) -> None:
        self._desk, self._pictures, self._page = desk, pictures, page
        self.decided = 0
        self._run = secrets.token_hex(8)
        """Names this run of the program to the page: another one numbers the files anew."""

    def expect_someone(self) -> None:
        """Have the thumbnails drawn that the page shows first, while the browser is still being opened."""
        first = self._desk.find(Filter(undecided=True, sample=self._desk.spot_check() is not None))
        self._pictures.ahead(self._subjects(first[:_FIRST]))

    def guarded(self, session: Session) -> Application:
        """Return the application, for those whom the session lets in."""
        routes = [
            Route("/", self._index),
            Route("/page/{name}", self._file),
            Route("/api/state", self._state),
            Route("/api/ids", self._ids),
            Route("/api/items", self._items),
            Route("/api/decisions", self._decide, methods=["POST"]),
            Route("/api/undo", self._undo, methods=["POST"]),
            Route("/api/ahead", self._ahead, methods=["POST"]),
            Route("/thumbnail/{number:int}", self._thumbnail),
            Route("/picture/{number:int}", self._picture),
        ]
        handlers: dict[Any, Any] = {HTTPException: _refused, KeyError: _unknown}
        handlers |= {DicomsortError: _ended, Exception: _unforeseen}
        app = Starlette(routes=routes, exception_handlers=handlers)
        app.router.redirect_slashes = False
        return Guard(app, session)

    # --- the page

    async def _index(self, _request: Request) -> Response:
        return self._page["index.html"]

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._page:
            raise HTTPException(404, "There is no such file.")
        return self._page[name]

    # --- what there is

    def _state(self, _request: Request) -> Response:
        desk = self._desk
        facts = {"out": desk.out, "model": desk.model, "by": desk.by, "read_only": desk.read_only}
        labels = {"multilabel": desk.multilabel, "labels": desk.labels, "further": desk.further}
        return _json({**facts, "version": __version__, "run": self._run, **labels, **self._progress()})

    def _ids(self, request: Request) -> Response:
        ids = self._desk.find(_filter(request))
        return _json({"ids": ids, "studies": self._desk.has_studies(ids)})

    def _items(self, request: Request) -> Response:
        return _json({"items": self._told(_numbers(request.query_params.get("ids", "").split(",")))})

    def _told(self, ids: Sequence[int]) -> list[dict[str, Any]]:
        return [{name: getattr(item, name) for name in _ITEM} for item in self._desk.items(ids[:MOST_ITEMS])]

    def _progress(self) -> dict[str, Any]:
        desk = self._desk
        return {"counts": desk.counts(), "sample": desk.spot_check(), "notices": desk.notices()}

    # --- what is decided

    async def _decide(self, request: Request) -> Response:
        asked = await _asked(request)
        ids, label = _ids_of(asked), asked.get("label")
        if not isinstance(label, str):
            raise HTTPException(400, "label must be a text.")
        return await run_in_threadpool(self._take, ids, label)

    def _take(self, ids: list[int], label: str) -> Response:
        self._check_writable()
        refused = self._desk.decide(ids, label)
        self.decided += len(set(ids)) - len(refused)
        told = [{"id": each.id, "reason": each.reason} for each in refused]
        return _json({"items": self._told(ids), "refused": told, **self._progress()})

    async def _undo(self, request: Request) -> Response:
        await _asked(request)
        return await run_in_threadpool(self._take_back)

    def _take_back(self) -> Response:
        self._check_writable()
        ids = self._desk.undo()
        self.decided -= len(ids)
        return _json({"items": self._told(ids), **self._progress()})

    def _check_writable(self) -> None:
        if self._desk.read_only:
            raise HTTPException(409, self._desk.read_only)

    # --- pictures

    async def _ahead(self, request: Request) -> Response:
        ids = _ids_of(await _asked(request))
        await run_in_threadpool(lambda: self._pictures.ahead(self._subjects(ids[:MOST_ITEMS])))
        return Response(status_code=204)

    async def _thumbnail(self, request: Request) -> Response:
        answer = await self._drawn(self._pictures.thumbnail, request.path_params["number"])
        if not isinstance(answer, bytes):
            return _no_picture(answer)
        tag = f'"{hashlib.blake2b(answer, digest_size=12).hexdigest()}"'
        headers = {"etag": tag, "cache-control": "private, max-age=0, must-revalidate"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(answer, media_type="image/jpeg", headers=headers)

    async def _picture(self, request: Request) -> Response:
        answer = await self._drawn(self._pictures.full, request.path_params["number"])
        return Response(answer, media_type="image/png") if isinstance(answer, bytes) else _no_picture(answer)

    async def _drawn(self, draw: Draw, number: int) -> Answer | None:
        """Have a file drawn; once more if a decision has just moved it away."""
        subject, answer = await self._draw(draw, number)
        if isinstance(answer, Failure) and answer.reason is Reason.VANISHED:
            now = await run_in_threadpool(self._subject, number)
            if now != subject:
                _, answer = await self._draw(draw, number)
        return answer

    async def _draw(self, draw: Draw, number: int) -> tuple[Subject, Answer | None]:
        subject = await run_in_threadpool(self._subject, number)
        coming = await run_in_threadpool(draw, subject)
        return subject, await asyncio.wrap_future(coming)

    def _subject(self, number: int) -> Subject:
        return Subject(self._desk.items([number])[0].path, self._desk.picture_of(number))

    def _subjects(self, ids: Sequence[int]) -> list[Subject]:
        return [self._subject(number) for number in ids]


def _filter(request: Request) -> Filter:
    asked = request.query_params
    if (order := asked.get("order", "asc")) not in ("asc", "desc"):
        raise HTTPException(400, "order must be asc or desc.")
    pairs = [each.partition(":") for each in asked.getlist("further")]
    texts = {name: asked.get(name, "") for name in _TEXTS}
    return Filter(
        statuses=tuple(asked.getlist("status")),
        further=tuple((name, value) for name, _, value in pairs if name),
        undecided=asked.get("undecided") == "1",
        decided=asked.get("decided") == "1",
        sample=asked.get("sample") == "1",
        sort=asked.get("sort", "confidence"),
        descending=order == "desc",
        **texts,
    )


def _numbers(texts: Sequence[str]) -> list[int]:
    if len(texts) > MOST_ITEMS:
        raise HTTPException(400, f"At most {MOST_ITEMS} ids can be asked for at a time.")
    if not all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        raise HTTPException(400, "ids must be whole numbers with commas between them.")
    return [int(text) for text in texts]


async def _asked(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"A request may have {MOST_BYTES} bytes.")
    try:
        asked = json.loads(bytes(body))
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise HTTPException(400, "The request is no JSON object.")
    return asked


def _ids_of(asked: Mapping[str, Any]) -> list[int]:
    ids = asked.get("ids")
    if not isinstance(ids, list) or not all(type(each) is int for each in ids):
        raise HTTPException(400, "ids must be a list of whole numbers.")
    return ids


def _json(value: Any, status: int = 200) -> Response:
    text = json.dumps(value, separators=(",", ":")).translate(_ESCAPED)
    return Response(text, status, media_type="application/json")


def _no_picture(answer: Failure | None) -> Response:
    if answer is None:
        return Response("too many pictures at a time, or the end\n", 503, media_type="text/plain")
    return Response(f"{answer.status}: {answer.reason}", 422, media_type="text/plain")


def _refused(_request: Request, error: HTTPException) -> Response:
    return _json({"error": error.detail}, error.status_code)


def _unknown(_request: Request, _error: KeyError) -> Response:
    return _json({"error": "There is no such file in this output."}, 404)


def _ended(_request: Request, error: DicomsortError) -> Response:
    return _json({"error": str(error)}, 400 if isinstance(error, UsageError) else 500)


def _unforeseen(_request: Request, error: Exception) -> Response:
    return _json({"error": internal(error)}, 500)
