"""Whether every transfer syntax is read here, tried in a worker process as a file would be."""

from collections.abc import Iterator

from dicomsort.dicom import isolation, trial
from dicomsort.doctor.finding import Finding, ok, problem
from dicomsort.errors import InternalError
from dicomsort.outcome import Failure
from dicomsort.system.pool_settings import PoolSettings

_SETTINGS = PoolSettings(workers=1, timeout=30.0)
_AGAIN = "pip install --force-reinstall imagecodecs pillow pydicom"


def examine() -> Iterator[Finding]:
    """Start a worker, and have it read a sample of each transfer syntax."""
    bad: dict[str, Failure] = {}
    tried = 0
    try:
        for syntax, failure in isolation.read_all(trial.attempt, trial.samples(), _SETTINGS):
            tried += 1
            if failure is not None:
                bad[syntax] = failure
    except InternalError as error:
        yield problem("workers", str(error), "see `ulimit -v`, and the memory limit of this session")
        return
    yield ok("workers", "a process was started, and has read files")
    for syntax, failure in sorted(bad.items()):
        yield problem(trial.spoken(syntax), f"{failure.status}: {failure.reason} ({syntax})", _AGAIN)
    if tried > len(bad):
        yield ok("transfer syntaxes", f"{tried - len(bad)} of {tried} are read, each tried on a small image")
