"""Nodes and an engine that hands them tasks, in the process of a test."""

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from predictors import FixedPredictor

from dicomsort.cluster import staying, task
from dicomsort.cluster.hands import Ended, Run
from dicomsort.cluster.job import Job, TaskFiles
from dicomsort.sorting.pipeline import sort


class Nodes:
    """Stands for the nodes: does a task in this process, but loses the first `losses` of them."""

    def __init__(self, predictor: FixedPredictor, losses: int = 0, **ends: Any) -> None:
        self.predictor, self.losses, self.ends = predictor, losses, ends
        self.done: list[str] = []

    def __call__(self, one: task.Task) -> task.Summary:
        self.done.append(one.name)
        if self.losses:
            self.losses -= 1
            raise ConnectionError
        if self.ends:
            return task.Summary(one.name, **self.ends)
        os.makedirs(one.folder, exist_ok=True)
        if one.compares:
            return staying._done(one, (), ExitStack())[0]
        run = replace(Job.of(one).settings, task=one.name)
        tally = sort(run, self.predictor, files=TaskFiles(one))
        statuses = {status.value: count for status, count in tally.statuses.items()}
        return task.Summary(one.name, tally.found, statuses, tally.spent, inside=tally.inside)


class Hands:
    """Stands for an engine whose nodes come and go: `there` says how many are there, look by look."""

    who = "the engine"

    def __init__(self, *there: int) -> None:
        self.there, self.waiting = list(there or (1,)), list[Ended]()
        self.most = 0

    def nodes(self) -> int:
        return self.there.pop(0) if len(self.there) > 1 else self.there[0]

    def room(self) -> int:
        return self.there[0]

    def hand_out(self, run: Run, one: task.Task) -> None:
        try:
            self.waiting.append(Ended(one, run(one)))
        except ConnectionError as error:
            self.waiting.append(Ended(one, None, type(error).__name__))
        self.most = max(self.most, len(self.waiting))

    def ended(self, seconds: float) -> list[Ended]:
        if not self.waiting:
            time.sleep(min(seconds, 0.01))
        ended, self.waiting = self.waiting, []
        return ended
