"""How processes are started, with what they need loaded, and where."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from typing import Any

_PRELOAD = ["dicomsort.system.worker", "dicomsort.dicom.reader"]


def warm_up() -> Any:
    """Return the context in which workers are started.

    Lets the process from which they are forked load what they need in the background. It ignores
    Ctrl-C, which is for the main process.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with somewhere():
        resource_tracker.ensure_running()  # would be started below, and then let Ctrl-C through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def working_folder_is_gone() -> bool:
    """Return whether the current folder has been removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@contextmanager
def somewhere() -> Iterator[None]:
    """Be in the root folder while a process is started, if the current one has been removed.

    multiprocessing asks for the name of the current folder, and takes the new process there.
    """
    if not working_folder_is_gone():
        yield
        return
    here = os.open(os.curdir, os.O_RDONLY)
    os.chdir(os.sep)
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
