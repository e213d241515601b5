"""The worker: which tasks it holds, and one loop for each.

Owns: rows 1 to 3 and 10 of the worker's life, signals, the summary line, and the decorator that registers handlers.
Invariants: leases come first and discovery only after a 404, then for good; a loop is restarted only when
what it depends on changed; nothing runs on a lease that has run out; the lease is given back at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, TypeVar

from . import api
from .frame import TaskError, WorkerTask
from .handlers import Handler, Registration
from .http import Client, Response, TransportError
from .log import Throttle, configure, logger
from .loop import TaskLoop
from .metrics import Metrics, MetricsServer
from .retry import Backoff
from .settings import Settings, SettingsError, add_flags, from_flags

_Target = TypeVar("_Target", bound=Callable[..., Any])

_SUMMARY_SECONDS = 60.0
# What a frame at hand may take after a signal before the process ends without it.
_FAREWELL_SECONDS = 20.0


class Worker:
    """Serves the task types that are registered with `task`, until a signal or `stop`."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        max_tasks: int | None = None,
        capacity: float | None = None,
    ) -> None:
        """Make a worker; without `settings` the `HELDAR_*` variables are read when it runs.

        `max_tasks` (1..512) limits how many tasks it takes, `capacity` (0.01..100) is its strength relative
        to others.
        """
        self._settings = settings
        self._max_tasks = max_tasks
        self._capacity = capacity
        self._registrations: dict[str, Registration] = {}
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.metrics = Metrics()

    def task(
        self, *task_types: str, batch: int = 1, batch_wait_ms: float = 5.0, parallel: bool = False
    ) -> Callable[[_Target], _Target]:
        """Register a function or a class for task types.

        A function gets a `Frame`; calls are made one at a time unless `parallel`. A class gets one instance per task,
        made with the `WorkerTask` if its constructor takes an argument, and its method `analyze(frame)` is called.
        With `batch` above 1 the function gets a list of frames of several tasks and gives back one result for
        each; it waits at most `batch_wait_ms` for the list to fill.
        """
        if not task_types or any(not t.strip() for t in task_types):
            raise ValueError("task: name at least one task type")
        if batch < 1:
            raise ValueError("task: batch is at least 1")

        def register(target: _Target) -> _Target:
            registration = Registration(target, batch, batch_wait_ms / 1000.0, parallel)
            for name in task_types:
                if name in self._registrations:
                    raise ValueError(f"task: {name} has a handler already")
                self._registrations[name] = registration
            return target

        return register

    def stop(self) -> None:
        """End `run` after the frames at hand; callable from any thread and from signal handlers."""
        self._stop.set()
        self._wake.set()

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Read the flags of the command line over the environment, then `run`. The process's exit status."""
        parser = argparse.ArgumentParser()
        add_flags(parser)
        try:
            self._settings = from_flags(parser.parse_args(argv))
        except SettingsError as error:
            parser.error(str(error))
        return self.run()

    def run(self) -> int:
        """Serve until SIGTERM, SIGINT or `stop`; gives back 0. Raises `SettingsError` on unusable settings."""
        if not self._registrations:
            raise ValueError("no task type has a handler; register one with @worker.task(...)")
        settings = self._settings or Settings.from_env()
        configure(settings)
        server = MetricsServer(self.metrics, settings.metrics) if settings.metrics else None
        with self._signals():
            try:
                _Supervisor(
                    settings, self._registrations, self._max_tasks, self._capacity, self.metrics, self._stop, self._wake
                ).run()
            finally:
                if server is not None:
                    server.close()
        return 0

    @contextlib.contextmanager
    def _signals(self) -> Any:
        # Handlers can only be set from the main thread; elsewhere the program calls `stop`.
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, _frame: object) -> None:
            logger.info("signal %d: finishing", number)
            self.stop()

        before = {s: signal.signal(s, handle) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, previous in before.items():
                signal.signal(number, previous)


class _Supervisor:
    """Holds the lease and keeps the set of loops equal to it."""

    def __init__(
        self,
        settings: Settings,
        registrations: dict[str, Registration],
        max_tasks: int | None,
        capacity: float | None,
        metrics: Metrics,
        stop: threading.Event,
        wake: threading.Event,
    ) -> None:
        self._settings = settings
        self._max_tasks = max_tasks
        self._capacity = capacity
        self._metrics = metrics
        self._stop = stop
        self._wake = wake
        self._client = Client(settings.api, settings.api_key, settings.http_timeout)
        self._backoff = Backoff(settings.backoff_base, settings.backoff_cap)
        self._random = random.Random()
        self._throttle = Throttle()
        shared = {id(r): Handler(r) for r in registrations.values()}
        self._handlers = {name: shared[id(r)] for name, r in registrations.items()}
        self._loops: dict[str, TaskLoop] = {}
        # Loops that were told to end and still finish a frame.
        self._ending: list[TaskLoop] = []
        self._leases = True
        self._lease_id: str | None = None
        self._lease_ends: float | None = None
        self._failures = 0
        self._refused: dict[str, str] = {}

    def run(self) -> None:
        logger.info(
            "worker %s serves %s from %s", self._settings.worker_id, ", ".join(self._handlers), self._settings.api
        )
        next_ask = 0.0
        next_summary = time.monotonic() + _SUMMARY_SECONDS
        while not self._stop.is_set():
            now = time.monotonic()
            # `_wake` asks before the time: a loop was told that its lease is gone.
            if now >= next_ask or self._wake.is_set():
                self._wake.clear()
                next_ask = time.monotonic() + self._ask()
            if self._lease_ends is not None and time.monotonic() >= self._lease_ends:
                self._lease_ran_out()
            if time.monotonic() >= next_summary:
                next_summary += _SUMMARY_SECONDS
                logger.info("last minute: %s", self._metrics.summary())
            self._ending = [loop for loop in self._ending if not loop.join(0)]
            until = min(next_ask, next_summary, self._lease_ends or next_ask)
            self._wake.wait(max(until - time.monotonic(), 0.0))
        self._finish()

    def _ask(self) -> float:
        """One look at the tasks; the seconds until the next."""
        asked = time.monotonic()
        try:
            answer = self._call()
        except TransportError as error:
            return self._not_told(str(error), None)
        if isinstance(answer, Response):
            if answer.status >= 500 or answer.status == 429:
                return self._not_told(answer.error(), answer.retry_after)
            # Refused for good reasons (key, rights, name): a person must act, so keep asking at leisure.
            if self._throttle.passes("refused"):
                logger.error("the server refuses this worker: %s", answer.error())
            return self._settings.poll_interval
        self._failures = 0
        next_ask = self._settings.poll_interval
        if self._leases:
            if answer.id != self._lease_id:
                logger.info("lease %s", answer.id)
            self._lease_id = answer.id
            # From the moment of asking: the server cannot have counted from earlier.
            self._lease_ends = asked + self._settings.ttl_secs
            next_ask = min(next_ask, self._settings.ttl_secs * 2 / 3, answer.renew_after or next_ask)
        self._apply(answer.tasks)
        return max(next_ask, 0.5)

    def _call(self) -> api.Lease | Response:
        if self._leases:
            answer = api.lease(
                self._client,
                self._settings.worker_id,
                self._settings.ttl_secs,
                sorted(self._handlers),
                self._max_tasks,
                self._capacity,
            )
            if not isinstance(answer, api.NoLeases):
                return answer
            logger.info("this server has no leases; tasks are discovered instead")
            self._leases = False
            self._lease_id = self._lease_ends = None
        return api.discover(self._client, self._settings.worker_id)

    def _not_told(self, told: str, retry_after: float | None) -> float:
        self._failures += 1
        if self._throttle.passes("unreachable"):
            logger.warning("tasks cannot be asked for: %s", told)
        return self._backoff.delay(self._failures, self._random.random(), retry_after)

    def _apply(self, raw_tasks: list[object]) -> None:
        wanted: dict[str, WorkerTask] = {}
        refused: dict[str, str] = {}
        for raw in raw_tasks:
            try:
                task = WorkerTask.parse(raw)
            except TaskError as error:
                name = raw.get("id") if isinstance(raw, dict) else None
                refused[str(name)] = str(error)
                continue
            if task.task_type in self._handlers and self._under_limit(wanted):
                wanted[task.id] = task
        for name, why in refused.items():
            if self._refused.get(name) != why:
                logger.error("task %s is not served: it %s", name, why)
        self._refused = refused
        for task_id in [t for t, loop in self._loops.items() if wanted.get(t) != loop.task]:
            self._end(task_id, "changed" if task_id in wanted else "is gone")
        for task_id, task in wanted.items():
            if task_id not in self._loops:
                self._begin(task)
        self._metrics.tasks = len(self._loops)

    def _under_limit(self, wanted: dict[str, WorkerTask]) -> bool:
        return self._max_tasks is None or len(wanted) < self._max_tasks

    def _begin(self, task: WorkerTask) -> None:
        logger.info(
            "task %s: %s on camera %s at %g fps, %d wide", task.id, task.task_type, task.camera_id, task.fps, task.width
        )
        loop = TaskLoop(
            task, self._handlers[task.task_type], self._settings, self._metrics, self._throttle, self._wake.set
        )
        self._loops[task.id] = loop
        loop.start()

    def _end(self, task_id: str, why: str) -> None:
        logger.info("task %s %s", task_id, why)
        loop = self._loops.pop(task_id)
        loop.stop()
        self._ending.append(loop)

    def _lease_ran_out(self) -> None:
        self._lease_ends = None
        if self._loops:
            logger.warning("the lease ran out without renewal; its tasks stop")
        for task_id in list(self._loops):
            self._end(task_id, "has no lease")
        self._metrics.tasks = 0

    def _finish(self) -> None:
        loops = [*self._loops.values(), *self._ending]
        for loop in loops:
            loop.stop()
        until = time.monotonic() + _FAREWELL_SECONDS
        unfinished = [loop for loop in loops if not loop.join(until - time.monotonic())]
        if unfinished:
            logger.warning("%d frames were not finished in time", len(unfinished))
        for handler in set(self._handlers.values()):
            handler.close()
        # A fresh connection: the kept one may be cut, and this must not take long.
        self._client.close()
        if self._lease_id is not None:
            client = Client(self._settings.api, self._settings.api_key, min(self._settings.http_timeout, 5.0))
            with contextlib.suppress(TransportError):
                api.release(client, self._lease_id)
            client.close()
        logger.info("ended: %s", self._metrics.summary())
