"""Object stores: every key, every byte, whatever befalls a request; and no secret anywhere."""

import base64
import hmac
import http.server
import io
import json
import shutil
import subprocess
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import ports
import pytest
from botocore.exceptions import CredentialRetrievalError
from object_server import CANARY, SECRET, Proxy, be_user, in_turn, s3_server, wait_for
from object_server import put as put_all
from obstore.store import AzureStore
from web_server import serving

from dicomsort.errors import UsageError
from dicomsort.inputs import s3, transfer
from dicomsort.inputs.objects import ObjectStore
from dicomsort.inputs.store import FetchError, RemoteSettings
from dicomsort.outcome import Reason

ODD = (
    "plain/a.dcm", "a b.dcm", "ü/é😀.dcm", "x%20y.dcm", "x+y.dcm", "q?x=1#f.dcm", "a//b.dcm", "/lead.dcm",
    "a/../up.dcm", "a/./dot.dcm", "trail/", "ctrl\x01.dcm", "back\\slash", "quote'\".dcm", "lt<gt>&amp;.dcm",
    "'=formula", "z" * 1000, "deep/" * 60 + "x", "a:b|c*d~", "!/x.zip!/y", "\u202e\ufb01",
)  # fmt: skip
QUICK = RemoteSettings(connections=4, timeout=60, tries=3)
HASTY = RemoteSettings(connections=4, timeout=0.7, tries=60)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server(MOTO_S3_DEFAULT_MAX_KEYS="7") as address:
        yield address


@pytest.fixture(autouse=True)
def nobody(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials; nobody waits between two tries."""
    be_user(monkeypatch, tmp_path, server, signs=False)
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.001)


@pytest.fixture
def signed(nobody: None, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    be_user(monkeypatch, tmp_path, server)


Put = Callable[..., None]


@pytest.fixture
def put(server: str) -> Put:
    """Put objects into a bucket that anybody may read."""
    return lambda bucket, **objects: put_all(server, bucket, objects)


def everything(store: ObjectStore) -> dict[str, tuple[str, int]]:
    return {file.path: (file.relpath, file.stamp.size if file.stamp else -1) for file in store.find()}


def fetched(store: ObjectStore, path: str, start: int = 0, stop: int | None = None) -> bytes:
    into = io.BytesIO()
    store.fetch(path, start, stop, into)
    return into.getvalue()


@pytest.mark.usefixtures("signed")
def test_every_key_is_found_page_by_page_and_every_byte_of_it_fetched(put: Put) -> None:
    """The server's pages have 7 keys."""
    put("odd", **{key: key.encode() * 3 for key in ODD})
    store = ObjectStore("s3://odd", QUICK)
    files = list(store.find())
    assert {file.path for file in files} == {f"s3://odd/{key}" for key in ODD}
    for file in files:
        into = io.BytesIO()
        assert store.fetch(file.path, 0, None, into) == file.stamp
        assert into.getvalue() == file.path.removeprefix("s3://odd/").encode() * 3


@pytest.mark.usefixtures("signed")
def test_names_below_the_root_stay_below_it_and_markers_of_folders_are_no_files(put: Put) -> None:
    put("names", **{"a/": b"", "a/../../x": b"1", "a//b": b"2", "a/empty": b"", "ab": b"3", "a/c/": b"4"})
    assert everything(ObjectStore("s3://names/a", QUICK)) == {
        "s3://names/a/../../x": ("__/__/x", 1),
        "s3://names/a//b": ("b", 1),
        "s3://names/a/c/": ("c", 1),
        "s3://names/a/empty": ("empty", 0),
    }


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    ("root", "found"),
    [
        ("s3://roots", {"a": "a", "a/b": "a/b", "ab": "ab"}),
        ("s3://roots/", {"a": "a", "a/b": "a/b", "ab": "ab"}),
        ("s3://roots/a", {"a": "a", "a/b": "b"}),
        ("s3://roots/a/", {"a/b": "b"}),
        ("s3://roots/a/b", {"a/b": "b"}),
        ("s3://roots/none", {}),
    ],
)
def test_a_root_is_a_bucket_a_folder_or_one_object(root: str, found: dict[str, str], put: Put) -> None:
    put("roots", **{"a": b"1", "a/b": b"2", "ab": b"3"})
    relative = {path: name for path, (name, _) in everything(ObjectStore(root, QUICK)).items()}
    assert relative == {f"s3://roots/{key}": name for key, name in found.items()}


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_any_bytes_of_an_object_can_be_asked_for(key: str, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256))
    put("ranges", **{key: body, f"{key}.empty": b""})
    monkeypatch.setattr(transfer, "PIECE", 100)
    store = ObjectStore("s3://ranges", QUICK)
    for start, stop in [(0, 10), (0, None), (99, 101), (250, 900), (255, None), (256, 300), (400, 500)]:
        assert fetched(store, f"s3://ranges/{key}", start, stop) == body[start:stop]
    assert fetched(store, f"s3://ranges/{key}.empty", 0, 1000) == b""


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
@pytest.mark.parametrize("fault", ["500", "503", "429", "reset", "cut"])
def test_a_request_that_fails_is_made_again(
    fault: str, key: str, server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("faults", **{key: b"0123456789" * 10})
    with Proxy(server, faults=in_turn({key: [fault, fault]})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        assert fetched(ObjectStore("s3://faults", QUICK), f"s3://faults/{key}") == b"0123456789" * 10
        assert sum(proxy.asked.values()) == 3


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_an_answer_that_does_not_come_is_not_waited_for(
    fault: str, key: str, server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("faults", **{key: b"0123456789" * 10})
    monkeypatch.setattr(transfer, "SLOWEST", 1 << 40)  # so that a request has 0.7 s for all its bytes
    with Proxy(server, faults=in_turn({key: [fault]})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        assert fetched(ObjectStore("s3://faults", HASTY), f"s3://faults/{key}") == b"0123456789" * 10
        assert sum(proxy.asked.values()) >= 2


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
@pytest.mark.parametrize(
    ("fault", "reason", "times"),
    [
        ("500", Reason.REMOTE, 3),
        ("reset", Reason.REMOTE, 3),
        ("403", Reason.REMOTE, 1),
        ("404", Reason.VANISHED, 1),
    ],
)
def test_what_cannot_be_fetched_says_why_and_is_not_asked_for_in_vain(
    fault: str, reason: Reason, times: int, key: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(server, faults=lambda path, number: fault) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        with pytest.raises(FetchError) as error:
            fetched(ObjectStore("s3://faults", QUICK), f"s3://faults/{key}")
        assert (error.value.reason, sum(proxy.asked.values())) == (reason, times)


@pytest.mark.usefixtures("signed")
def test_a_store_that_is_gone_is_not_asked_several_times_for_each_file(
    server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("gone", a=b"1")
    monkeypatch.setattr(transfer, "_MANY", 2)
    with Proxy(server, faults=lambda path, number: "reset") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        store = ObjectStore("s3://gone", QUICK)
        for times in (3, 3, 1, 1):
            proxy.asked.clear()
            with pytest.raises(FetchError):
                fetched(store, "s3://gone/a")
            assert sum(proxy.asked.values()) == times
        proxy.faults = in_turn({})
        assert fetched(store, "s3://gone/a") == b"1"
        proxy.faults = in_turn({"/a": ["reset"] * (proxy.asked["/gone/a"] + 1)})
        assert fetched(store, "s3://gone/a") == b"1"


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_credentials_that_end_meanwhile_cost_files_and_not_the_run(
    key: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("ending", **{key: b"1"})
    store = ObjectStore("s3://ending", QUICK)
    monkeypatch.setattr(s3.Account, "keys", ended)
    monkeypatch.setattr(s3.Account, "link_to", ended)
    with pytest.raises(FetchError) as error:
        fetched(store, f"s3://ending/{key}")
    assert error.value.reason is Reason.REMOTE


def ended(*_: object) -> None:
    raise CredentialRetrievalError(provider="sso", error_msg="ended")


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("key", ["plain", "odd//key"])
def test_an_object_that_changes_between_two_pieces_comes_in_one_version(
    key: str, server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("changes", **{key: b"old" * 100})
    monkeypatch.setattr(transfer, "PIECE", 100)

    def change(path: str, number: int) -> str:
        if number == 2:
            put("changes", **{key: b"newer" * 50})
        return ""

    with Proxy(server, faults=change) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        into = io.BytesIO(b"before")
        into.seek(6)
        stamp = ObjectStore("s3://changes", QUICK).fetch(f"s3://changes/{key}", 10, None, into)
    assert into.getvalue()[:246] == b"before" + (b"newer" * 50)[10:]
    assert stamp.size == 250


@pytest.mark.usefixtures("signed")
def test_an_etag_changes_with_the_bytes_and_not_without(put: Put) -> None:
    stamps = []
    for body in (b"1", b"1", b"2"):
        put("etags", a=body)
        (file,) = ObjectStore("s3://etags", QUICK).find()
        stamps.append(file.stamp.etag if file.stamp else "")
    assert stamps[0] == stamps[1] != stamps[2]
    assert all(stamps)


def lines_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize(
    ("url", "faults", "says"),
    [
        ("s3://not-there", {}, "s3://not-there: there is no such bucket"),
        ("s3://not_A_bucket!", {}, "s3://not_A_bucket!: this is no name of a bucket"),
        ("s3://", {}, "'s3://' names no bucket: give s3://bucket/folder"),
        ("s3://refusing", {"refusing": ["403"] * 9}, "s3://refusing: access is denied"),
        ("s3://broken", {"broken": ["500"] * 9}, "s3://broken: the store answers with an error"),
        ("s3://hanging", {"hanging": ["hang"] * 9}, "s3://hanging: the store cannot be reached"),
        (f"s3://{CANARY}:{SECRET[:6]}@bucket", {}, "the address 's3://bucket' holds credentials"),
        (f"s3://bucket/a?X-Amz-Signature={SECRET}", {}, "the address 's3://bucket/a' holds credentials"),
    ],
)
def test_a_store_that_cannot_be_listed_ends_with_one_line_without_secrets(
    url: str, faults: dict[str, list[str]], says: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(server, faults=in_turn(faults)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        hasty = RemoteSettings(timeout=0.25 if "hanging" in faults else 60, tries=2)
        with pytest.raises(UsageError) as error:
            list(ObjectStore(url, hasty).find())
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)
    assert not any(secret in lines_of(error.value) for secret in (CANARY, SECRET))


@pytest.mark.usefixtures("signed")
@pytest.mark.parametrize("fault", ["503", "reset"])
def test_a_store_that_is_told_to_stop_tries_nothing_again(
    fault: str, server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C must not wait for all tries of all files."""
    put("stopped", a=b"a" * 9000)
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 600.0)

    def stopping(path: str, number: int) -> str:
        threading.Timer(0.3, store.stop).start()
        return fault

    with Proxy(server, faults=stopping) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        store = ObjectStore("s3://stopped", RemoteSettings(timeout=60, tries=5))
        begun = time.monotonic()
        with pytest.raises(FetchError):
            fetched(store, "s3://stopped/a")
        assert time.monotonic() - begun < 200
        assert proxy.asked["/stopped/a"] == 1


LIST = "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>"
OBJECT = "<Contents><Key>a</Key><Size>{}</Size><LastModified>{}</LastModified></Contents>"
TIME = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "page",
    [
        "",
        "<html><body>Sign in first</body></html>",
        "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        LIST.format(OBJECT.format(1, "yesterday")),
        LIST.format(OBJECT.format("many", TIME)),
        LIST.format(OBJECT.format(-1, TIME)),
        LIST.format(OBJECT.format("9" * 30, TIME)),
        LIST.format("<Contents><Key>a</Key></Contents>"),
    ],
)
@pytest.mark.usefixtures("signed")
def test_what_is_no_list_is_not_taken_for_an_empty_bucket(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is lost without a word would be files that are lost without a word."""
    with answering(page) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(UsageError, match="s3://any: the answer is no list of objects"):
            list(ObjectStore("s3://any", QUICK).find())


@contextmanager
def answering(page: str) -> Iterator[str]:
    """A server that gives everybody the same page."""

    class Same(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *words: object) -> None: ...

    with serving(Same) as address:
        yield address


def test_credentials_lie_in_a_profile_or_nobody_signs(
    server: str, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("signed", a=b"1", **{"b//c": b"2"})
    (tmp_path / ".aws").mkdir()
    keys = f"aws_access_key_id={CANARY}\naws_secret_access_key={SECRET}\naws_session_token=canary-token\n"
    (tmp_path / ".aws" / "credentials").write_text(f"[clinic]\n{keys}")
    with Proxy(server) as proxy:
        (tmp_path / ".aws" / "config").write_text(f"[profile clinic]\nendpoint_url={proxy.address}\n")
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        monkeypatch.setenv("AWS_PROFILE", "clinic")
        read_all("s3://signed")
        assert all(
            f"Credential={CANARY}/" in head or f"Credential={CANARY}%2F" in head for head in proxy.heads
        )
        assert all("canary-token" in head and SECRET not in head for head in proxy.heads)
        monkeypatch.delenv("AWS_PROFILE")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        proxy.heads.clear()
        read_all("s3://signed")
        assert proxy.heads
        assert not any("authorization" in head.lower() or "Signature" in head for head in proxy.heads)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="no profile of the name in AWS_PROFILE"):
        ObjectStore("s3://signed", QUICK)


def read_all(url: str) -> None:
    store = ObjectStore(url, QUICK)
    assert {path: fetched(store, path) for path in everything(store)} == {
        f"{url}/a": b"1",
        f"{url}/b//c": b"2",
    }
    store.close()


def as_s3(request: bytes) -> bytes:
    """A request to Google's XML API, in which S3's own calls exist: a key comes with `%2F` and `%2E`."""
    first, *lines = request.split(b"\r\n")
    first = first.replace(b"%2F", b"/").replace(b"%2E", b".").replace(b"%2D", b"-")
    return b"\r\n".join([first, *(line for line in lines if not line.lower().startswith(b"authorization"))])


@contextmanager
def google(
    server: str, monkeypatch: pytest.MonkeyPatch, faults: dict[str, list[str]] | None = None
) -> Iterator[None]:
    with Proxy(server, translated=as_s3, faults=in_turn(faults or {})) as proxy:
        account = {"gcs_base_url": proxy.address, "disable_oauth": True}
        account |= dict.fromkeys(("client_email", "private_key", "private_key_id"), "")
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        yield


@pytest.mark.parametrize("root", ["gs://cloud", "gs://cloud/x/", "gs://cloud/x", "gs://cloud/x/a b.dcm"])
def test_a_bucket_of_google_is_found_and_fetched(
    root: str, server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = {f"x/{key}": key.encode() * 9 for key in ("a b.dcm", "é%41.dcm", "deep/er.dcm")} | {"x/0": b""}
    put("cloud", **objects)
    with google(server, monkeypatch, {"er.dcm": ["500", "cut"]}):
        store = ObjectStore(root, QUICK)
        below = root.removeprefix("gs://cloud").lstrip("/")
        for file in (files := list(store.find())):
            into = io.BytesIO()
            assert store.fetch(file.path, 0, None, into) == file.stamp
            assert into.getvalue() == objects[file.path.removeprefix("gs://cloud/")]
        assert len(files) == sum(key.startswith(below) for key in objects)


def test_markers_of_folders_of_google_are_no_files(
    server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("marks", **{"f/": b"", "f/a": b"1", "g/": b"", "h": b"", "h/": b"", "h/b": b"2", "i": b""})
    with google(server, monkeypatch):
        found = everything(ObjectStore("gs://marks", QUICK))
    assert {path.removeprefix("gs://marks/"): size for path, (_, size) in found.items()} == {
        "f/a": 1,
        "h": 0,
        "h/b": 1,
        "i": 0,
    }


def test_keys_of_google_that_obstore_cannot_say_end_with_one_line(
    server: str, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("odd-cloud", **{"a//b": b"1"})
    put("odd-cloud-2", **{"/a": b"1", "a": b"2"})
    put("odd-cloud-3", **{"/b": b"1", "a": b"2"})
    with google(server, monkeypatch):
        for bucket in ("odd-cloud", "odd-cloud-2", "odd-cloud-3"):
            with pytest.raises(UsageError, match=rf"^gs://{bucket}: a key with an empty part"):
                list(ObjectStore(f"gs://{bucket}", QUICK).find())
        with pytest.raises(UsageError, match=r"^gs://not-there: there is no such bucket"):
            list(ObjectStore("gs://not-there", QUICK).find())


@pytest.mark.slow
def test_a_container_of_azure_is_found_and_fetched_with_credentials_and_if_public_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Microsoft's own emulator: npm install azurite."""
    if shutil.which("azurite-blob") is None:
        pytest.skip("azurite-blob is missing")
    objects = {f"x/{key}": key.encode() * 9 for key in ("a b.dcm", "é%41.dcm", "deep/er.dcm")} | {"x/0": b""}
    with azure(tmp_path) as endpoint, Proxy(endpoint, faults=in_turn({"er.dcm": ["500", "cut"]})) as proxy:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{proxy.address}/devstoreaccount1")
        monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:1")  # what this machine may say of itself
        for key in (AZURE_KEY, None):
            if key:
                monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", key)
                make_container(endpoint, objects)
                with pytest.raises(UsageError, match=r"^az://none: there is no such bucket"):
                    list(ObjectStore("az://none", QUICK).find())
            else:
                monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
            store = ObjectStore("az://xrays/x", QUICK)
            found = list(store.find())
            assert {file.path for file in found} == {f"az://xrays/{name}" for name in objects}
            for file in found:
                into = io.BytesIO()
                assert store.fetch(file.path, 0, None, into) == file.stamp
                assert into.getvalue() == objects[file.path.removeprefix("az://xrays/")]


AZURE_KEY = (  # the emulator's, which everybody knows
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


@contextmanager
def azure(folder: Path) -> Iterator[str]:
    with ports.reserved() as (port,):
        words = ["azurite-blob", "--silent", "--location", str(folder), "--blobPort", str(port)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def make_container(endpoint: str, objects: dict[str, bytes]) -> None:
    """Make a public container (signed as "Authorize with Shared Key" has it) and fill it by obstore."""
    headers = {"x-ms-blob-public-access": "container", "x-ms-date": formatdate(usegmt=True)}
    headers |= {"x-ms-version": "2021-08-06", "Content-Length": "0"}
    told = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers) if name.startswith("x-ms"))
    what = f"PUT{chr(10) * 12}{told}/devstoreaccount1/devstoreaccount1/xrays\nrestype:container"
    digest = hmac.digest(base64.b64decode(AZURE_KEY), what.encode(), "sha256")
    headers["Authorization"] = f"SharedKey devstoreaccount1:{base64.b64encode(digest).decode()}"
    url = f"{endpoint}/devstoreaccount1/xrays?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()  # noqa: S310
    blobs = AzureStore("xrays", client_options={"allow_http": True})
    for key, body in objects.items():
        blobs.put(key, body)
