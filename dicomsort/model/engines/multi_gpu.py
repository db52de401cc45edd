"""Several devices: one process each, behind the face of a single classifier."""

import multiprocessing
import queue
import signal
import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any

import numpy as np
import torch

from dicomsort.errors import DicomsortError, InternalError
from dicomsort.model.bundle import Bundle
from dicomsort.model.engines.devices import choose_precision
from dicomsort.model.engines.torch import Images, Logits, TorchClassifier
from dicomsort.system.starting import somewhere

_LANES = 2  # of a device: one batch travels while another is computed


class MultiGpuClassifier:
    """A classifier on each of several devices; `logits` may be called by `concurrency` threads at a time.

    Used as a context manager, whose end ends the processes. All devices compute in one precision, so that it
    does not matter which of them has seen an image.
    """

    engine = "torch"

    def __init__(self, bundle: Bundle, devices: Sequence[torch.device], precision: str = "auto") -> None:
        self.bundle = bundle
        self.precision = choose_precision(precision, devices)
        self.name = ", ".join(str(device) for device in devices)
        self.concurrency = _LANES * len(devices)
        self.batch_size = 0
        self._devices = devices
        self._processes: list[Any] = []
        self._pipes: list[Any] = []
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __enter__(self) -> "MultiGpuClassifier":
        """Start the processes. Raises what a classifier raises, or InternalError if a process dies."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes."""
        self.close()

    def logits(self, images: Images) -> Logits:
        """Return float32 logits (n, bundle.width) for uint8 images (n, size, size), from an idle device.

        Raises what a classifier raises, or InternalError if the process has died.
        """
        pipe = self._idle.get()
        try:
            answer = _ask(pipe, images)
        finally:
            self._idle.put(pipe)
        return np.asarray(answer, np.float32)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(timeout=5)
            process.kill()
            process.join()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for device in self._devices:
            ours, theirs = zip(*(context.Pipe() for _ in range(_LANES)), strict=True)
            arguments = (theirs, self.bundle, str(device), self.precision)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            with somewhere():
                process.start()
            for pipe in theirs:
                pipe.close()
            self._processes.append(process)
            self._pipes.extend(ours)
        sizes = [_ask(pipe, None) for pipe in self._pipes]
        self.batch_size = min(sizes)
        for pipe in self._pipes:
            self._idle.put(pipe)


def _ask(pipe: Any, question: Any) -> Any:
    """Send one thing and wait for the answer. Raises the exception that comes instead of one."""
    try:
        pipe.send(question)
        answer = pipe.recv()
    except (EOFError, OSError) as error:
        raise InternalError("the process of a device has died; the same command goes on") from error
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(pipes: Sequence[Any], bundle: Bundle, device: str, precision: str) -> None:
    """Answer on every pipe until it closes: None with the batch size, images with logits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process closes the pipes
    classifier: TorchClassifier | Exception
    try:
        classifier = TorchClassifier(bundle, device, precision)
    except Exception as error:  # noqa: BLE001  (raised again where it was asked for)
        classifier = error
    threads = [threading.Thread(target=_answer, args=(pipe, classifier)) for pipe in pipes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answer(pipe: Any, classifier: TorchClassifier | Exception) -> None:
    with closing(pipe), suppress(EOFError, OSError):
        while True:
            question = pipe.recv()
            pipe.send(_reply(classifier, question))


def _reply(classifier: TorchClassifier | Exception, question: Images | None) -> Any:
    if isinstance(classifier, Exception):
        return classifier
    try:
        return classifier.batch_size if question is None else classifier.logits(question)
    except DicomsortError as error:
        return error
    except Exception as error:  # noqa: BLE001  (raised again where it was asked for, if it can travel)
        return InternalError(f"a device failed: {str(error).splitlines()[0]}")
