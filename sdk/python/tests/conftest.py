"""What several test files use: a testing kernel and workers that run in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Callable

import pytest

from heldar_worker import Settings, Worker
from heldar_worker.kernel import Kernel
from heldar_worker.kernel.sources import DrawnSource

CAMERA = "cam_test"


def small_pictures() -> DrawnSource:
    return DrawnSource(320, 180)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with Kernel({CAMERA: small_pictures, "cam_other": small_pictures}) as running:
        yield running


class Running:
    """Workers in threads, all of which end with the test."""

    def __init__(self) -> None:
        self._running: list[tuple[Worker, threading.Thread]] = []

    def start(
        self,
        kernel: Kernel,
        handler: Callable[..., Any],
        *types: str,
        task: dict[str, Any] | None = None,
        **settings: Any,
    ) -> Worker:
        defaults: dict[str, Any] = {"poll_interval": 1, "lease_ttl": 15, "backoff_base": 0.02, "http_timeout": 3}
        # The default name is that of the process, which these share.
        defaults["worker_id"] = f"test-{len(self._running)}"
        worker = Worker(Settings(api=kernel.url, **{**defaults, **settings}))
        worker.task(*(types or ("test",)), **(task or {}))(handler)
        thread = threading.Thread(target=worker.run)
        thread.start()
        self._running.append((worker, thread))
        return worker

    def stop(self) -> None:
        for worker, _ in self._running:
            worker.stop()
        for _, thread in self._running:
            thread.join(15)
            assert not thread.is_alive(), "a worker does not end"
        self._running.clear()


@pytest.fixture
def workers() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


def accepted(count: int) -> Callable[[Kernel], bool]:
    """A condition for `Kernel.wait_for`: that many results were stored."""
    return lambda kernel: kernel.ingest.accepted >= count
