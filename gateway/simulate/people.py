"""Several people at work on one job at once, each with a key of their own, through the REST API.

Each is a thread that leases, decides and leases again, so that leases, races and second persons are real.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.client import AlreadyDecided, Client, Conflict, InvalidRequest, LeaseLost, WaitExpired
from gateway.schemas import DecidedPair, DecisionKind, Job, LeasedTask, Polarity, TaskType
from gateway.simulate.annotator import Choice, Sitting
from gateway.simulate.costs import Action, Costs
from gateway.simulate.mistakes import Mistakes, Nature, chance
from gateway.simulate.rules import Rules
from gateway.simulate.truth import TrueImage

TYPES: tuple[TaskType, ...] = ("annotate", "review", "exhaustivity", "audit", "negative")
"""Types of tasks that are played. An adjudication is a lead's, and only gold has it."""
AT_ONCE = 6
"""Tasks that a page takes at a time, those of one image together."""
PAUSE = 0.3
"""Seconds of real time before somebody who found no work asks again."""
RENEW_AFTER = 60.0
"""Seconds of real time after which a task that was leased along is renewed before it is begun."""


@dataclass(frozen=True)
class Done:
    """One decision that the log has."""

    task_id: str
    round: int
    type: TaskType
    image_id: str
    phrase: str
    polarity: Polarity | None
    proposed: bool
    """The task's pair was proposed as a positive."""
    annotator: str
    kind: DecisionKind
    seconds: float
    negative_seconds: float
    clicks: int
    masks_made: int
    by_hand: int
    actions: Mapping[Action, int]
    added: Sequence[str]


@dataclass(frozen=True)
class Play:
    """What a job is played with."""

    job: Job
    truths: Mapping[str, TrueImage]
    costs: Costs
    mistakes: Mistakes
    rules: Rules
    seed: int


class Crew:
    """The people of one job."""

    def __init__(self, play: Play, clients: Sequence[Client]) -> None:
        """`clients`: one for each person; a second person's check needs two at least."""
        if len(clients) < 2:
            raise ValueError("a second person's check needs two people at least")
        self._play, self._clients = play, clients
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._done: list[Done] = []
        self._lost = 0
        self._failures: list[Exception] = []

    def work(
        self, watch: Client, *, timeout: float, tell: Callable[[Job, int], None] | None = None
    ) -> tuple[list[Done], int]:
        """All decisions until the job is complete, and how many a race or a lost lease took.

        Raises what a person's calls raise, and `WaitExpired` after `timeout` real seconds.
        """
        threads = [
            threading.Thread(target=self._person, args=(client, number), name=f"annotator-{number}")
            for number, client in enumerate(self._clients)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + timeout
        try:
            while not self._ended.wait(PAUSE):
                job = watch.job(self._play.job.id)
                if tell is not None:
                    tell(job, len(self._done))
                if job.status in ("complete", "cancelled"):
                    break
                if time.monotonic() > deadline:
                    raise WaitExpired(
                        f"{job.id} is not complete after {timeout:g} s: {job.open_tasks} tasks are open"
                    )
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
        if self._failures:
            raise self._failures[0]
        return self._done, self._lost

    def _person(self, client: Client, number: int) -> None:
        try:
            last_image = ""
            while not self._ended.is_set():
                began = time.monotonic()
                held = client.lease_reviews(types=TYPES, job_id=self._play.job.id, most=AT_ONCE)
                if not held:
                    self._ended.wait(PAUSE)
                for task in held:
                    if time.monotonic() - began > RENEW_AFTER and not self._still_held(client, task):
                        continue
                    self._task(client, task, number, first_look=task.task.image.id != last_image)
                    last_image = task.task.image.id
        except Exception as error:
            self._failures.append(error)
            self._ended.set()

    def _still_held(self, client: Client, held: LeasedTask) -> bool:
        """Whether a task that has waited for its turn is still this person's; its lease begins anew."""
        try:
            client.renew_review(held)
        except (AlreadyDecided, LeaseLost):
            with self._lock:
                self._lost += 1
            return False
        return True

    def _task(self, client: Client, held: LeasedTask, number: int, *, first_look: bool) -> None:
        task, play = held.task, self._play
        truth = play.truths[task.image.id]
        phrase = task.pair.phrase if task.pair is not None else ""
        # Not by the task's id: that depends on the job's, and a repeated simulation has another job.
        rng = chance(play.seed, task.stage, truth.name, task.type, phrase, task.copy_number, task.round)
        sitting = Sitting(
            task,
            truth,
            client,
            costs=play.costs,
            nature=Nature(play.mistakes, rng),
            rules=play.rules,
            hard_negatives=play.job.hard_negatives,
            first_look=first_look,
        )
        choice = sitting.decide()
        try:
            for _ in range(int(choice.effort.seconds // play.rules.renew_seconds)):
                client.renew_review(held)  # as the page does while a person is at work
            added = self._send(client, held, choice)
        except (AlreadyDecided, LeaseLost):
            with self._lock:
                self._lost += 1
            return
        effort = choice.effort
        done = Done(
            task_id=task.id,
            round=task.round,
            type=task.type,
            image_id=task.image.id,
            phrase=phrase,
            polarity=task.pair.polarity if task.pair is not None else None,
            proposed=task.pair is not None and task.pair.polarity == "positive",
            annotator=f"annotator-{number}",
            kind=choice.kind,
            seconds=effort.seconds,
            negative_seconds=effort.negative_seconds,
            clicks=effort.clicks,
            masks_made=choice.masks_made,
            by_hand=choice.by_hand,
            actions=dict(effort.actions),
            added=added,
        )
        with self._lock:
            self._done.append(done)

    def _send(self, client: Client, held: LeasedTask, choice: Choice) -> Sequence[str]:
        """Decides; the phrases that were added.

        Without additions where another person has given the image one of the phrases meanwhile.
        """

        def decide(pairs: Sequence[DecidedPair]) -> None:
            client.decide_review(held, choice.kind, pairs=pairs, active_seconds=choice.effort.seconds)

        try:
            decide(choice.pairs)
        except (InvalidRequest, Conflict) as refusal:
            if not choice.added or isinstance(refusal, AlreadyDecided | LeaseLost):
                raise
            decide(choice.pairs[:1])
            return ()
        return choice.added
