"""Processes that stay: each drives one card, for all jobs that want a whole one, whoever's they are.

Processes that share a card slow each other down: fourteen of them tenfold, on one H200. And a process that does one job
spends seconds on its start: importing torch, connecting to the card, choosing kernels and recording graphs.
"""

import time
from dataclasses import dataclass
from typing import Any

import ray

from fedistill.transport.backend.base import BackendTask
from fedistill.transport.backend.machines import Machines
from fedistill.transport.backend.ray_result import RETRIES
from fedistill.transport.backend.worker import CardWorker


@dataclass(eq=False)
class Card:
    """A process and its card.

    Args:
        process: Ray's actor.
        options: what Ray has set aside for it.
        task: the job that it does; None for none.
        idle_since: when it had done its last one.
    """

    process: Any
    options: dict[str, Any]
    task: BackendTask | None = None
    idle_since: float = 0.0


def wants_card(task: BackendTask) -> bool:
    """Return whether a job goes to a process that stays; one that wants part of a card has a process of its own."""
    return task.num_gpus == 1


class Cards:
    """At most one process for each card of all machines. Each has one job at a time, so that no other dies with it.

    Args:
        machines: that have the cards.
    """

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._cards: list[Card] = []
        self._worker = ray.remote(CardWorker)

    def free(self) -> bool:
        """Return whether a job could start: whether there is a card whose process has none."""
        return sum(card.task is not None for card in self._cards) < int(self._machines.total("GPU"))

    def start(self, task: BackendTask, *arguments: Any) -> Any:
        """Start a job, where one may; return Ray's reference to its outcome."""
        card = self._card_for(task)
        card.task = task
        return card.process.work.options(name=task.job).remote(*arguments)

    def done(self, task: BackendTask) -> None:
        """Note that a job is done; nothing for a job that had a process of its own."""
        for card in self._cards:
            if card.task is task:
                card.task, card.idle_since = None, time.monotonic()

    def stop(self, task: BackendTask) -> None:
        """End the process that does a job; the next job gets another."""
        for card in [card for card in self._cards if card.task is task]:
            self._end(card)

    def retire(self, idle_for: float) -> None:
        """End the processes that have been idle for so many seconds: others want what is set aside for them."""
        now = time.monotonic()
        for card in [card for card in self._cards if card.task is None and now - card.idle_since > idle_for]:
            self._end(card)

    def close(self) -> None:
        """End all processes."""
        while self._cards:
            self._end(self._cards[0])

    def _card_for(self, task: BackendTask) -> Card:
        """Return an idle process with as much set aside as the job asks for: a new one, where none has."""
        idle = sorted((card for card in self._cards if card.task is None), key=lambda card: -card.idle_since)
        for card in idle:
            if all(card.options.get(kind, 0) >= amount for kind, amount in task.options.items()):
                return card
        options = task.options
        if len(self._cards) >= int(self._machines.total("GPU")):
            # Its successor has as much as both ask for, lest they take turns at it.
            self._end(idle[0])
            both = {kind: max(options.get(kind, 0), amount) for kind, amount in idle[0].options.items()}
            options = {**options, **both} if self._machines.fit({**options, **both}) else options
        # Should the process die, Ray starts it again, and has it do its job again so many times.
        named = self._worker.options(**options, max_restarts=-1, max_task_retries=RETRIES)
        self._cards.append(Card(named.remote(), options))
        return self._cards[-1]

    def _end(self, card: Card) -> None:
        self._cards.remove(card)
        ray.kill(card.process)
