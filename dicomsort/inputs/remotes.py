"""The stores that a command names, each by the root that it serves."""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from urllib.parse import unquote

from dicomsort.inputs import names
from dicomsort.inputs.store import FetchError, RemoteSettings, Stoppable, Store
from dicomsort.inputs.stores import store_of
from dicomsort.inputs.walk import Root
from dicomsort.outcome import Failure, SourceFile, Status


class Remotes:
    """The stores among some roots, each opened when it is first needed."""

    def __init__(
        self,
        roots: Sequence[Root] = (),
        settings: RemoteSettings | None = None,
        opened: Callable[[str, RemoteSettings], Store] = store_of,
    ) -> None:
        self._roots = [root for root in roots if names.is_remote(root.path)]
        self._settings, self._opened = settings or RemoteSettings(), opened
        self._stores: dict[str, Store] = {}
        self._begun: dict[str, Iterator[SourceFile]] = {}

    def __bool__(self) -> bool:
        return bool(self._roots)

    @property
    def connections(self) -> int:
        """How many requests may be made at a time."""
        return self._settings.connections

    def open(self) -> None:
        """Open all stores, before anything is made. Raises UsageError, MissingLibraryError too."""
        for root in self._roots:
            self._store(root.path)

    def begin(self) -> None:
        """Begin to list, so that a store that is not there is noticed now. Raises as `Store.find` does."""
        try:
            for root in self._roots:
                found = self._store(root.path).find()
                self._begun[root.path] = chain(list(islice(found, 1)), found)
        except BaseException:  # Ctrl-C too: what hangs is given up
            self.stop()
            raise

    def find(self) -> Iterator[SourceFile]:
        """Yield every file of every root. Raises as `Store.find` does."""
        for root in self._roots:
            for found in self._begun.pop(root.path, None) or self._store(root.path).find():
                yield replace(found, relpath=f"{root.name}/{found.relpath}") if root.name else found

    def stamped(self, files: Iterator[SourceFile]) -> Iterator[SourceFile]:
        """Yield files in their order, those of stores with the stamp that they have now.

        So a list of objects is gone on with as a folder is. Many are asked for at a time; what is not there
        gets a failure.
        """
        if not self._roots:
            yield from files
            return
        waiting: deque[Future[SourceFile]] = deque()
        with ThreadPoolExecutor(self.connections, thread_name_prefix="ask") as threads:
            for file in files:
                waiting.append(threads.submit(self._stamped, file))
                if len(waiting) > 2 * self.connections:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _stamped(self, file: SourceFile) -> SourceFile:
        if file.failure is not None or not names.is_remote(file.path):
            return file
        store = self.store_for(file.path)
        if not store.in_parts:
            return file
        try:
            return replace(file, stamp=store.fetch(file.path, 0, 1, io.BytesIO()))
        except FetchError as error:
            return replace(file, failure=Failure(Status.IO_ERROR, error.reason))

    def store_for(self, path: str) -> Store:
        """Return the store that gives out a file. Raises UsageError if there is none for its scheme.

        A web server may have sent us elsewhere for all that lies below a root: there is one store for that.
        """
        below = [root.path for root in self._roots if path.startswith(root.path.rstrip("/"))]
        return self._store(max(below, key=len, default="") or _place(path))

    def _store(self, root: str) -> Store:
        if root not in self._stores:
            self._stores[root] = self._opened(root, self._settings)
        return self._stores[root]

    def stop(self) -> None:
        """Give up what is being asked, from any thread, where a store can do that."""
        for store in tuple(self._stores.values()):
            if isinstance(store, Stoppable):
                store.stop()

    def close(self) -> None:
        """Let go of all connections, and of lists that were begun; what is asked later is asked anew."""
        self._begun.clear()
        for store in self._stores.values():
            store.close()
        self._stores.clear()


def _place(path: str) -> str:
    """Return where a remote file lies: its host or bucket; a PACS is named by what lies in it."""
    scheme, _, rest = path.partition("://")
    return path if names.is_pacs(path) else f"{scheme}://{rest.partition('/')[0]}/"


def relative_to(root: Root, path: str) -> str | None:
    """Return a remote file's path as its store yields it below a root; None if it does not lie there."""
    base = root.path.rstrip("/")
    if names.is_pacs(path) and f"{path}/".startswith(f"{base}/"):
        return "/".join(filter(None, (root.name, names.place_in_pacs(path))))
    if path != base and not path.startswith(f"{base}/"):
        return None
    below = names.base_name(path) if path == base else path[len(base) + 1 :]
    below = unquote(below) if names.is_web(path) else below
    return "/".join(filter(None, (root.name, names.clean(below))))
