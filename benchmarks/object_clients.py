"""Fetch the first 256 KiB of 2,000 objects over 64 connections by several libraries, in turn.

    python benchmarks/object_clients.py [--latency 0.05] [--objects 2000] [--connections 64] [--rounds 3]

Prints objects a second, and processor time of the client an object: that is what is taken from sorting.
The server is moto behind a proxy that answers after the latency, from its memory once it has asked moto.
`ours` is `ObjectStore.fetch`. s3fs is measured where it is installed.
"""

import argparse
import io
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from object_server import CANARY, SECRET, Proxy, put, s3_server

LENGTH = 1 << 18
KEYS = {"aws_access_key_id": CANARY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
Fetch = Callable[[str], int]


def by_obstore(address: str, _connections: int) -> Fetch:
    """Obstore as it comes."""
    from obstore.store import S3Store  # noqa: PLC0415

    keys = {"access_key_id": CANARY, "secret_access_key": SECRET, "region": "us-east-1"}
    store = S3Store("bench", endpoint=address, client_options={"allow_http": True}, **keys)  # type: ignore[arg-type]
    return lambda key: len(store.get(key, options={"range": (0, LENGTH)}).bytes())


def by_botocore(address: str, connections: int) -> Fetch:
    """One client of botocore for all threads."""
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(max_pool_connections=connections)
    client = botocore.session.Session().create_client("s3", endpoint_url=address, config=config, **KEYS)
    wanted = {"Bucket": "bench", "Range": f"bytes=0-{LENGTH - 1}"}
    return lambda key: len(client.get_object(Key=key, **wanted)["Body"].read())


def by_s3fs(address: str, connections: int) -> Fetch:
    """Fsspec's file system, of which one thread makes all requests."""
    import s3fs  # type: ignore[import-not-found]  # noqa: PLC0415

    client = {"endpoint_url": address, "region_name": "us-east-1"}
    config = {"max_pool_connections": connections}
    files = s3fs.S3FileSystem(key=CANARY, secret=SECRET, client_kwargs=client, config_kwargs=config)
    return lambda key: len(files.cat_file(f"bench/{key}", start=0, end=LENGTH))


def by_us(address: str, connections: int) -> Fetch:
    """Our own, with its retries and conditions."""
    from dicomsort.inputs.objects import ObjectStore  # noqa: PLC0415
    from dicomsort.inputs.store import RemoteSettings  # noqa: PLC0415

    found = {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": CANARY, "AWS_SECRET_ACCESS_KEY": SECRET}
    os.environ.update(found)
    store = ObjectStore("s3://bench", RemoteSettings(connections))

    def fetch(key: str) -> int:
        into = io.BytesIO()
        store.fetch(f"s3://bench/{key}", 0, LENGTH, into)
        return into.tell()

    return fetch


CLIENTS = {"obstore": by_obstore, "ours": by_us, "botocore": by_botocore, "s3fs": by_s3fs}


def spent() -> float:
    """Processor seconds of this process."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    return own.ru_utime + own.ru_stime


def measure(client: str, address: str, objects: int, connections: int) -> tuple[float, float]:
    """Return objects a second and milliseconds of processor an object, once connections stand."""
    fetch, keys = CLIENTS[client](address, connections), keys_of(objects)
    with ThreadPoolExecutor(connections) as threads:
        list(threads.map(fetch, keys[:connections]))
        began, before = time.perf_counter(), spent()
        assert set(threads.map(fetch, keys)) == {LENGTH}  # noqa: S101
        return objects / (time.perf_counter() - began), 1000 * (spent() - before) / objects


def keys_of(objects: int) -> list[str]:
    """Return the keys in the bucket."""
    return [f"{number % 10}/{number:05}.dcm" for number in range(objects)]


def main() -> None:
    """Measure each client in a process of its own, in turn, and print the medians."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--latency", type=float, default=0.05)
    words.add_argument("--objects", type=int, default=2000)
    words.add_argument("--connections", type=int, default=64)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("--client", nargs=2, metavar=("NAME", "ADDRESS"), help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.client:
        name, address = asked.client
        print(*measure(name, address, asked.objects, asked.connections))
        return
    body = random.Random(0).randbytes(2 * LENGTH)
    with s3_server() as server:
        put(server, "bench", dict.fromkeys(keys_of(asked.objects), body))
        with Proxy(server, asked.latency, keeps=True) as proxy:
            report(proxy.address, asked)


def report(address: str, asked: argparse.Namespace) -> None:
    """Measure and print."""
    told: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for client in [name for name in CLIENTS if name != "s3fs" or find_spec("s3fs")] * asked.rounds:
        own = [f"--{name}={value}" for name, value in vars(asked).items() if name != "client"]
        run = [sys.executable, __file__, *own, "--client", client, address]
        line = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()[0]
        told[client].append(tuple(map(float, line.split())))
    for client, rounds in told.items():
        rate, cost = map(statistics.median, zip(*rounds, strict=True))
        print(f"{client:9}{rate:6.0f} objects/s {cost:6.2f} ms processor/object")


if __name__ == "__main__":
    main()
