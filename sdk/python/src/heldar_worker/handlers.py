"""How a task loop calls the user's code, in the three shapes that code may have.

Owns: functions, classes with state per task, and batches over several cameras. Invariant: a function is
called by one thread at a time unless registered as parallel; one instance of a class is only ever called by
one thread. A loop hands in one frame and waits, so at most one frame per task is held here.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Protocol

from .detection import Result, as_result
from .frame import BrokenFrameError, Frame, WorkerTask


class StaleError(Exception):
    """The frame grew too old while it waited for its turn."""


class Analyzer(Protocol):
    """What a task loop calls: one frame in, its result out."""

    def analyze(self, frame: Frame) -> tuple[Result, float]:
        """The result, and the seconds the user's code took. Raises what that code raises, and `StaleError`."""

    def close(self) -> None:
        """The task ended."""


@dataclass(frozen=True)
class Registration:
    """One `@worker.task(...)`."""

    target: Callable[..., Any]
    #: Frames handed over at once; 1 = singly.
    batch: int = 1
    batch_wait: float = 0.005
    parallel: bool = False


def stale_after(task: WorkerTask) -> float:
    """Milliseconds after which a frame is not worth analysing (row 5)."""
    return max(2000.0, 3000.0 * task.period)


class Handler:
    """A registration at work; makes one analyzer per task."""

    def __init__(self, registration: Registration) -> None:
        self._target = registration.target
        self._is_class = inspect.isclass(self._target)
        self._lock = None if registration.parallel or self._is_class else threading.Lock()
        self._batcher: _Batcher | None = None
        if registration.batch > 1:
            call: Callable[[list[Frame]], Any] = self._target().analyze if self._is_class else self._target
            self._batcher = _Batcher(call, registration.batch, registration.batch_wait)

    def analyzer(self, task: WorkerTask) -> Analyzer:
        """Ready for the frames of `task`. Raises what a class's constructor raises."""
        if self._batcher is not None:
            return _Batched(self._batcher)
        if self._is_class:
            # A class that wants its task takes it as its one argument.
            wants_task = bool(inspect.signature(self._target).parameters)
            instance = self._target(task) if wants_task else self._target()
            return _Single(instance.analyze, None, getattr(instance, "close", None))
        return _Single(self._target, self._lock, None)

    def close(self) -> None:
        """End the thread of a batching handler."""
        if self._batcher is not None:
            self._batcher.close()


class _Single:
    def __init__(
        self,
        call: Callable[[Frame], Any],
        lock: threading.Lock | None,
        close: Callable[[], None] | None,
    ) -> None:
        self._call = call
        self._lock = lock
        self._close = close

    def analyze(self, frame: Frame) -> tuple[Result, float]:
        with self._lock or contextlib.nullcontext():
            if frame.age_ms > stale_after(frame.task):
                raise StaleError
            began = time.monotonic()
            # A generator does its work while it is read, so that belongs inside the lock.
            result = as_result(self._call(frame))
            return result, time.monotonic() - began

    def close(self) -> None:
        if self._close is not None:
            self._close()


class _Batched:
    def __init__(self, batcher: _Batcher) -> None:
        self._batcher = batcher
        batcher.members(+1)

    def analyze(self, frame: Frame) -> tuple[Result, float]:
        return self._batcher.analyze(frame)

    def close(self) -> None:
        self._batcher.members(-1)


class _Slot:
    """One waiting frame and, later, what became of it."""

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.done = threading.Event()
        self.result: Result | None = None
        self.seconds = 0.0
        self.error: BaseException | None = None


class _Batcher:
    """Collects frames of several tasks for a few milliseconds and calls the function with all of them."""

    def __init__(self, call: Callable[[list[Frame]], Sequence[Any]], size: int, wait: float) -> None:
        self._call = call
        self._size = size
        self._wait = wait
        self._members = 0
        self._slots: list[_Slot] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    def members(self, by: int) -> None:
        with self._changed:
            self._members += by
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="batch", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def analyze(self, frame: Frame) -> tuple[Result, float]:
        slot = _Slot(frame)
        with self._changed:
            if self._closed:
                raise StaleError
            self._slots.append(slot)
            self._changed.notify_all()
        slot.done.wait()
        if slot.error is not None:
            raise slot.error
        return slot.result or Result(), slot.seconds

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slots or self._closed)
                if not self._slots:
                    return
                # Nobody waits for a frame that cannot come: every task has at most one here.
                self._changed.wait_for(
                    lambda: self._closed or len(self._slots) >= min(self._size, self._members), self._wait
                )
                taken, self._slots = self._slots[: self._size], self._slots[self._size :]
            self._serve(taken)

    def _serve(self, taken: list[_Slot]) -> None:
        fresh = []
        for slot in taken:
            if slot.frame.age_ms > stale_after(slot.frame.task):
                slot.error = StaleError()
                slot.done.set()
            else:
                fresh.append(slot)
        if not fresh:
            return None
        began = time.monotonic()
        try:
            outcomes = list(self._call([slot.frame for slot in fresh]))
            if len(outcomes) != len(fresh):
                raise TypeError(f"a batch of {len(fresh)} frames gave {len(outcomes)} results")
            results = [as_result(outcome) for outcome in outcomes]
        except BrokenFrameError as error:
            whole = [slot for slot in fresh if not _broken(slot)]
            for slot in fresh:
                if slot not in whole:
                    slot.error = error
                    slot.done.set()
            # One camera's damaged picture costs no other camera its result.
            if whole and len(whole) < len(fresh):
                return self._serve(whole)
            for slot in whole:
                slot.error = error
                slot.done.set()
            return None
        except Exception as error:
            for slot in fresh:
                slot.error = error
                slot.done.set()
            return None
        share = (time.monotonic() - began) / len(fresh)
        for slot, result in zip(fresh, results):
            slot.result, slot.seconds = result, share
            slot.done.set()
        return None


def _broken(slot: _Slot) -> bool:
    try:
        return slot.frame.image.size == 0
    except BrokenFrameError:
        return True
