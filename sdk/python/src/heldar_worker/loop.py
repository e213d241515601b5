"""The life of one task: pull the newest frame, analyse it, post the result, again.

Owns: rows 4 to 6, 8 and 9 of the worker's life. Invariants: one frame at a time, always the newest, so slow
analysis skips frames and nothing piles up; a result carries the ticket and the time of the frame it was made
from; after `stop` the frame at hand is still finished and posted. Never: asks for tasks, or prints the key.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Callable

from . import api
from .detection import MAX_DETECTIONS, Result
from .frame import BrokenFrameError, Frame, TaskError, WorkerTask
from .handlers import Analyzer, Handler, StaleError, stale_after
from .http import Client, Response, TransportError
from .log import Throttle, logger
from .metrics import Metrics
from .retry import Backoff
from .settings import Settings

# Longest wait a server grants in one request.
_MAX_WAIT_MS = 30_000
# "Skip the cycle" of a task at 0.02 fps would be 50 s, while its first frame may be a second away.
_LONGEST_PAUSE = 5.0


class TaskLoop:
    """One thread, one connection, one task."""

    def __init__(
        self,
        task: WorkerTask,
        handler: Handler,
        settings: Settings,
        metrics: Metrics,
        throttle: Throttle,
        lease_lost: Callable[[], None],
    ) -> None:
        self.task = task
        self._handler = handler
        self._settings = settings
        self._metrics = metrics
        self._throttle = throttle
        self._lease_lost = lease_lost
        self._client = Client(settings.api, settings.api_key, settings.http_timeout)
        self._backoff = Backoff(settings.backoff_base, settings.backoff_cap)
        self._random = random.Random()
        self._stop = threading.Event()
        self._after: int | None = None
        self._last_captured: str | None = None
        # Old servers number no frames; then a timer of one period takes the place of waiting at the server.
        self._numbered = True
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"task {task.id}", daemon=True)

    def start(self) -> None:
        """Begin pulling."""
        self._thread.start()

    def stop(self) -> None:
        """Take no further frame; the one at hand is finished."""
        self._stop.set()
        self._client.abort()

    def join(self, timeout: float) -> bool:
        """Wait for the end; whether it came."""
        self._thread.join(max(timeout, 0.0))
        return not self._thread.is_alive()

    def _run(self) -> None:
        analyzer: Analyzer | None = None
        try:
            analyzer = self._handler.analyzer(self.task)
            while not self._stop.is_set():
                self._cycle(analyzer)
        except TaskError as error:
            self._metrics.count(self.task.task_type, "handler_errors")
            logger.error("task %s is not served until its settings change: %s", self.task.id, error)
        except Exception:
            # A constructor that fails is told once; the task starts again when its settings change.
            self._metrics.count(self.task.task_type, "handler_errors")
            logger.exception("task %s ended", self.task.id)
        finally:
            if analyzer is not None:
                try:
                    analyzer.close()
                except Exception:
                    logger.exception("task %s: close failed", self.task.id)
            self._client.close()

    def _cycle(self, analyzer: Analyzer) -> None:
        began = time.monotonic()
        # Until it is known whether frames are numbered, the server may wait: it costs nothing if it cannot.
        wait_ms = min(round(self.task.period * 1000), _MAX_WAIT_MS) if self._numbered else 0
        try:
            pulled = api.pull(self._client, self.task, self._after, wait_ms, self._stop)
        except TransportError as error:
            if not self._stop.is_set():
                self._pull_failed(str(error), None)
            return
        if isinstance(pulled, Response):
            if pulled.status >= 500 or pulled.status == 429:
                self._pull_failed(pulled.error(), pulled.retry_after)
            else:
                # 401 and 403: perhaps the lease went; the next look at the tasks will tell.
                self._note("pull_errors", f"frame refused: {pulled.error()}")
                self._pause(began, max(self.task.period, 1.0))
            return
        self._failures = 0
        if isinstance(pulled, api.Empty):
            self._metrics.count(self.task.task_type, "pulls_empty")
            # A server that answers at once instead of waiting must not be asked in a spin.
            self._pause(began, self.task.period)
            return
        self._numbered = pulled.seq is not None
        if self._is_news(pulled):
            self._serve(analyzer, pulled)
        if not self._numbered:
            self._pause(began, self.task.period)

    def _is_news(self, frame: Frame) -> bool:
        if frame.captured_at_text == self._last_captured:
            self._metrics.count(self.task.task_type, "skipped_unchanged")
            # The number may have grown although the picture did not; ask for what comes after it.
            self._after = frame.seq
            self._stop.wait(min(self.task.period, _LONGEST_PAUSE))
            return False
        self._after = frame.seq
        self._last_captured = frame.captured_at_text
        if frame.skipped:
            self._metrics.count(self.task.task_type, "skipped_by_server", frame.skipped)
        if frame.age_ms > stale_after(self.task):
            self._metrics.count(self.task.task_type, "skipped_stale")
            self._stop.wait(min(self.task.period, _LONGEST_PAUSE))
            return False
        return True

    def _serve(self, analyzer: Analyzer, frame: Frame) -> None:
        kind = self.task.task_type
        try:
            result, seconds = analyzer.analyze(frame)
        except StaleError:
            self._metrics.count(kind, "skipped_stale")
            return
        except BrokenFrameError as error:
            self._note("broken", str(error))
            return
        except Exception:
            self._metrics.count(kind, "handler_errors")
            if self._throttle.passes(f"handler {self.task.id}"):
                logger.exception("task %s: handler failed on frame %s", self.task.id, frame.captured_at_text)
            return
        self._metrics.count(kind, "frames")
        self._metrics.inference(kind, seconds)
        try:
            body = api.result_body(frame, self._limited(result))
        except (TypeError, ValueError) as error:
            self._note("handler_errors", f"result cannot be sent: {error}")
            return
        self._post(body, len(result.detections))

    def _limited(self, result: Result) -> Result:
        if len(result.detections) <= MAX_DETECTIONS:
            return result
        if self._throttle.passes(f"limit {self.task.id}"):
            logger.warning(
                "task %s: %d detections in one frame, the most confident %d are sent",
                self.task.id,
                len(result.detections),
                MAX_DETECTIONS,
            )
        best = sorted(result.detections, key=lambda d: -(d.confidence or 0.0))[:MAX_DETECTIONS]
        return Result(best, result.event)

    def _post(self, body: bytes, detections: int) -> None:
        kind = self.task.task_type
        attempt = 0
        while True:
            retry_after: float | None = None
            try:
                answer = self._client.request("POST", api.EVENTS, body)
            except TransportError as error:
                outcome, told = api.Posted.AGAIN, str(error)
            else:
                outcome, told, retry_after = api.judge_post(answer), answer.error(), answer.retry_after
            if outcome is api.Posted.STORED:
                self._metrics.count(kind, "posts")
                self._metrics.count(kind, "detections", detections)
                return
            if outcome is api.Posted.LEASE_LOST:
                self._note("lease_lost", f"result dropped, tasks are asked for anew: {told}")
                self._forget()
                self._lease_lost()
                return
            attempt += 1
            last = self._stop.is_set() or attempt > self._settings.max_retries
            if outcome is api.Posted.REFUSED or last:
                self._note("post_errors", f"result lost: {told}")
                return
            self._note("post_retries", f"post failed and is repeated: {told}")
            # `stop` cuts the pause short; one last try follows.
            self._stop.wait(self._backoff.delay(attempt, self._random.random(), retry_after))

    def _forget(self) -> None:
        self._after = None
        self._last_captured = None

    def _pull_failed(self, told: str, retry_after: float | None) -> None:
        self._failures += 1
        self._note("pull_errors", f"no frame: {told}")
        self._stop.wait(self._backoff.delay(self._failures, self._random.random(), retry_after))

    def _note(self, counter: str, text: str) -> None:
        self._metrics.count(self.task.task_type, counter)
        if self._throttle.passes(f"{counter} {self.task.id}"):
            logger.warning("task %s: %s", self.task.id, text)

    def _pause(self, began: float, seconds: float) -> None:
        left = began + min(seconds, _LONGEST_PAUSE) - time.monotonic()
        if left > 0:
            self._stop.wait(left)
