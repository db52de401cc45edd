"""A real S3 server (moto, a process of its own), and a proxy before any server that spoils answers."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

import botocore.session
import ports
import pytest

Faults = Callable[[str, int], str]
"""What goes wrong with a request, by its path and its number among those of that path, from 1 on.

A status such as `503`; `reset`: the connection breaks; `cut`: half of the answer, then it ends; `hang`:
nothing comes; `drip`: a byte every tenth of a second; empty: nothing goes wrong.
"""
_RESET = struct.pack("ii", 1, 0)


def nothing(path: str, number: int) -> str:
    """No fault."""
    return ""


def in_turn(plan: Mapping[str, list[str]]) -> Faults:
    """Faults one after the other, for paths that end so."""

    def fault(path: str, number: int) -> str:
        mine = next((faults for end, faults in plan.items() if path.partition("?")[0].endswith(end)), [])
        return mine[number - 1] if number <= len(mine) else ""

    return fault


@contextmanager
def s3_server(**more: str) -> Iterator[str]:
    """Start moto and yield its address. more: what stands in its environment."""
    with ports.reserved() as (port,):
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        env = {**os.environ, **more}
        process = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(address)
            yield address
        finally:
            process.kill()
            process.wait()


CANARY, SECRET = "AKIACANARY0123456789", "canary/secret/0123456789"
"""The credentials of the user in tests; they may stand nowhere but in requests."""


def be_user(monkeypatch: pytest.MonkeyPatch, home: Path, address: str, *, signs: bool = True) -> None:
    """Be a user with no settings but the address of the server, and perhaps credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    if signs:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", CANARY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def put(server: str, bucket: str, objects: Mapping[str, bytes]) -> None:
    """Put objects into a bucket that anybody may read."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    s3 = botocore.session.Session().create_client("s3", endpoint_url=server, **keys)
    s3.create_bucket(Bucket=bucket)
    for key, body in objects.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")
    s3.close()


def wait_for(address: str) -> None:
    """Wait until a server answers, whatever it says."""
    for _ in range(600):
        try:
            urllib.request.urlopen(address, timeout=5).close()  # noqa: S310
        except HTTPError as error:
            error.close()
        except OSError:
            time.sleep(0.05)
            continue
        return
    raise TimeoutError(address)


class Proxy:
    """Passes requests on to a server, after some seconds.

    keeps: whether answers are remembered, to be quicker than the server. translated: what the server is told
    in place of a request. most: how many requests there were
    at a time. asked: how often each path was asked for. heads: all that was asked.
    """

    def __init__(
        self,
        server: str,
        latency: float = 0.0,
        faults: Faults = nothing,
        *,
        keeps: bool = False,
        translated: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._host, _, port = server.partition("://")[2].partition(":")
        self._port = int(port)
        self.latency, self.faults, self._keeps, self._translated = latency, faults, keeps, translated
        self._kept: dict[bytes, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.heads: list[str] = []
        self.most = self._now = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.address = ""

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        start = asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=512, limit=1 << 20)
        server = self._loop.run_until_complete(start)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        for listener in server.sockets:  # a server that is closed drops, unclosed, what it has just accepted
            self._loop.remove_reader(listener.fileno())
        self._loop.run_until_complete(self._end())
        server.close()
        self._loop.close()

    async def _end(self) -> None:
        """End what is being answered, and what was just accepted: no socket is left to be collected."""
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task, answers in self._serving.items():
                task.cancel()  # it may not have begun, and would close nothing
                answers.transport.abort()
            await asyncio.wait(others, timeout=0.01)
        await asyncio.sleep(0.005)  # for what was closed just now

    def _accept(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(client, answers))
        self._serving[task] = answers  # nothing else may know it while a client that has gone away is served
        task.add_done_callback(self._serving.pop)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await self._answer(client, answers):
                    pass
                answers.close()
                await answers.wait_closed()
        finally:
            answers.transport.abort()

    async def _answer(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> bool:
        request = await client.readuntil(b"\r\n\r\n")
        request += await client.readexactly(_length(request))
        path = _unsigned(request.split(b" ", 2)[1].decode())
        self.asked[path] += 1
        self.heads.append(request.partition(b"\r\n\r\n")[0].decode())
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            await asyncio.sleep(self.latency)
            fault = self.faults(path, self.asked[path])
            answer = await self._passed_on(request) if fault in ("", "cut", "drip") else b""
            return await _spoiled(answer, fault, answers, "" if request.startswith(b"HEAD ") else "failed")
        finally:
            self._now -= 1

    async def _passed_on(self, request: bytes) -> bytes:
        key = request if not self._keeps else _what(request)
        if key in self._kept:
            return self._kept[key]
        reader, writer = await asyncio.open_connection(self._host, self._port)
        request = self._translated(request)
        try:
            writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = await reader.read()
        finally:
            writer.transport.abort()
        if self._keeps:
            self._kept[key] = answer
        return answer


def _unsigned(path: str) -> str:
    """A path without its signature, which is another one in the next second."""
    place, _, query = path.partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-"))
    return f"{place}?{kept}" if kept else place


def _what(request: bytes) -> bytes:
    """What tells one request from another, but for its signature."""
    lines = request.split(b"\r\n")
    return b"\n".join([lines[0], *(line.lower() for line in lines if line.lower().startswith(b"range"))])


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def _spoiled(answer: bytes, fault: str, answers: asyncio.StreamWriter, said: str) -> bool:
    """Send an answer, with its fault. Returns whether the connection goes on."""
    if fault.isdecimal():
        answer = f"HTTP/1.1 {fault} Spoiled\r\nContent-Length: {len(said)}\r\n\r\n{said}".encode()
    elif fault == "hang":
        await asyncio.sleep(3600)
    elif fault == "reset":
        answers.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        return False
    head, _, body = answer.partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:"))
    head = head.replace(b"HTTP/1.0", b"HTTP/1.1", 1) + b"\r\n\r\n"
    if fault == "drip":
        answers.write(head)
        for byte in body:
            answers.write(bytes([byte]))
            await answers.drain()
            await asyncio.sleep(0.1)
        return True
    answers.write(head + body[: len(body) // 2] if fault == "cut" else head + body)
    await answers.drain()
    return fault != "cut"
