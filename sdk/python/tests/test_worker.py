"""A worker's life, seen from a testing kernel."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from heldar_worker import Detection, Event, Frame, Result, Settings, TaskError, Worker, WorkerTask
from heldar_worker.kernel import Kernel, Reply, Request
from heldar_worker.kernel.routes import answer
from heldar_worker.kernel.sources import DrawnSource

from .conftest import CAMERA, Running, accepted

SOURCES = Path(__file__).parent.parent


def nothing(_frame: Frame) -> None:
    """A handler that sees nothing."""


def bodies(kernel: Kernel) -> list[dict[str, Any]]:
    return [json.loads(r.raw) for r in kernel.seen("POST", "/ai/events")]


def test_results_belong_to_the_right_pictures(kernel: Kernel, workers: Running) -> None:
    first, second = kernel.add_task(fps=30), kernel.add_task(fps=30, camera_id="cam_other")

    def read(frame: Frame) -> Iterable[Detection]:
        yield Detection(
            "code", 0.5, (0, 0, 1, 1), attributes={"code": DrawnSource.read_code(frame.image), "seq": frame.seq}
        )

    workers.start(kernel, read)
    assert kernel.wait_for(lambda k: all(_codes(k, t.id) >= 8 for t in (first, second)))
    for task in (first, second):
        rows = [d["attributes"] for d in kernel.ingest.detections if d["task_id"] == task.id]
        assert len({r["seq"] - r["code"] for r in rows}) == 1
    assert all(b.ticketed for b in kernel.ingest.batches)
    assert [r for r in kernel.seen("POST", "/ai/events") if r.reply and r.reply.status != 200] == []


def _codes(kernel: Kernel, task_id: str) -> int:
    return sum(d["task_id"] == task_id for d in list(kernel.ingest.detections))


def test_empty_results_and_events_are_posted(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    kernel.add_task("loud", fps=30)
    workers.start(kernel, nothing)
    workers.start(kernel, lambda _: Result([], Event("noise", "warning", {"db": 90})), "loud")
    assert kernel.wait_for(lambda k: any(b["task_type"] == "test" for b in bodies(k)) and k.ingest.events)
    empty = next(b for b in bodies(kernel) if b["task_type"] == "test")
    assert empty["detections"] == []
    assert kernel.ingest.events[0]["payload"] == {"db": 90}


def test_only_what_a_loop_depends_on_restarts_it(kernel: Kernel, workers: Running) -> None:
    made: list[WorkerTask] = []
    closed: list[str] = []

    class Handler:
        def __init__(self, task: WorkerTask) -> None:
            self.task = task
            made.append(task)

        def analyze(self, frame: Frame) -> None:
            assert frame.task is self.task

        def close(self) -> None:
            closed.append(self.task.id)

    task = kernel.add_task(fps=30)
    workers.start(kernel, Handler)
    assert kernel.wait_for(accepted(3))
    renewals = len(kernel.seen("POST", "/ai/leases"))
    assert kernel.wait_for(lambda k: len(k.seen("POST", "/ai/leases")) >= renewals + 2)
    assert len(made) == 1
    changes: list[dict[str, Any]] = [{"config": {"a": 1}}, {"fps": 20}, {"width": 160}]
    for number, change in enumerate(changes, start=2):
        kernel.change_task(task.id, **change)
        assert kernel.wait_for(lambda _, n=number: len(made) >= n)  # type: ignore[misc]
    assert made[-1].config == {"a": 1}
    assert (made[-1].fps, made[-1].width) == (20, 160)
    kernel.remove_task(task.id)
    assert kernel.wait_for(lambda _: len(closed) == 4)
    assert len(made) == 4


def test_slow_analysis_skips_to_the_newest_frame(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    gate, ages, skipped = threading.Event(), [], []

    def slow(frame: Frame) -> None:
        ages.append(frame.age_ms)
        skipped.append(frame.skipped)
        gate.wait(0.3)

    worker = workers.start(kernel, slow)
    assert kernel.wait_for(accepted(6))
    assert max(ages[1:]) < 250
    assert all(s >= 5 for s in skipped[2:])
    assert worker.metrics.totals()["skipped_by_server"] >= 15


def _change_frames(kernel: Kernel, **headers: str) -> None:
    def intercept(request: Request) -> Reply | None:
        if not request.path.endswith("/frame"):
            return None
        reply = answer(kernel, request)
        reply.headers.update(headers)
        return reply

    kernel.intercept = intercept


def test_stale_and_unchanged_frames_are_not_analysed(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    _change_frames(kernel, **{"x-frame-age-ms": "2001"})
    worker = workers.start(kernel, nothing)
    assert kernel.wait_for(lambda _: worker.metrics.totals()["skipped_stale"] >= 3)
    assert kernel.ingest.accepted == 0
    _change_frames(kernel, **{"x-frame-captured-at": "2026-01-02T03:04:05.678+00:00"})
    assert kernel.wait_for(lambda _: worker.metrics.totals()["skipped_unchanged"] >= 3)
    assert len(bodies(kernel)) == 1


def test_an_old_server_without_numbers_is_asked_by_timer(workers: Running) -> None:
    with Kernel({CAMERA: DrawnSource}, leases=False) as kernel:
        task = kernel.add_task(fps=10)

        def plain(request: Request) -> Reply | None:
            if not request.path.endswith("/frame"):
                return None
            request.query = {"profile": "sub", "task": request.query.get("task", "")}
            reply = answer(kernel, request)
            keep = ("Content-Type", "x-frame-captured-at", "x-frame-age-ms")
            return Reply(reply.status, reply.body, {k: v for k, v in reply.headers.items() if k in keep})

        kernel.intercept = plain
        workers.start(kernel, nothing)
        assert kernel.wait_for(accepted(8))
        pulls = [r.at for r in kernel.seen("GET", "/frame") if r.reply and r.reply.status == 200]
        assert (pulls[-1] - pulls[0]) / (len(pulls) - 1) > 0.08
        served = {
            r.reply.headers["x-frame-captured-at"]
            for r in kernel.seen("GET", "/frame")
            if r.reply and r.reply.status == 200
        }
        assert {b["frame_id"] for b in bodies(kernel)} <= {f"{task.id}:{s}" for s in served}
        assert len(kernel.seen("POST", "/ai/leases")) == 1
        workers.stop()


def test_frame_url_gets_its_task_when_it_names_none(kernel: Kernel, workers: Running) -> None:
    task = kernel.add_task(fps=30)

    def shorten(request: Request) -> Reply | None:
        if request.path != "/api/v1/ai/leases" or request.method != "POST":
            return None
        reply = answer(kernel, request)
        for row in reply.body["tasks"]:
            row["frame_url"] = f"/api/v1/cameras/{CAMERA}/frame"
        return reply

    kernel.intercept = shorten
    workers.start(kernel, nothing)
    assert kernel.wait_for(accepted(2))
    assert {r.query.get("task") for r in kernel.seen("GET", "/frame")} == {task.id}


def test_a_failed_post_is_repeated_with_the_same_body(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    tries: list[bytes] = []

    def fail(request: Request) -> Reply | None:
        if request.path != "/api/v1/ai/events":
            return None
        tries.append(request.raw)
        if len(tries) == 2:
            return Reply(0, hang_up=True)
        return Reply(503, {"error": "busy"}) if len(tries) <= 4 else None

    kernel.intercept = fail
    worker = workers.start(kernel, nothing)
    assert kernel.wait_for(accepted(2))
    assert len(set(tries[:5])) == 1
    assert len(set(tries[4:])) == len(tries) - 4
    assert worker.metrics.totals()["post_retries"] >= 3


def test_a_result_is_given_up_after_all_repetitions(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    kernel.intercept = lambda r: Reply(500, {"error": "no"}) if r.path == "/api/v1/ai/events" else None
    worker = workers.start(kernel, nothing, max_retries=2, backoff_base=0.001)
    assert kernel.wait_for(lambda _: worker.metrics.totals()["post_errors"] >= 2)
    counts = [sum(b == body for b in bodies(kernel)) for body in bodies(kernel)[:2]]
    assert counts[0] == 3


def test_a_lost_lease_is_asked_for_at_once(workers: Running) -> None:
    with Kernel({CAMERA: DrawnSource}, require_tickets=True) as kernel:
        kernel.add_task(fps=30)
        worker = workers.start(kernel, nothing, poll_interval=30, lease_ttl=90)
        assert kernel.wait_for(accepted(2))
        kernel.state.expire()
        before = kernel.ingest.accepted
        assert kernel.wait_for(lambda k: len(k.seen("POST", "/ai/leases")) >= 2, 5)
        assert kernel.wait_for(accepted(before + 5))
        assert worker.metrics.totals()["lease_lost"] >= 1
        workers.stop()


def test_a_handler_that_fails_costs_its_frame_only(
    kernel: Kernel, workers: Running, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.add_task(fps=30)
    calls = []

    def moody(frame: Frame) -> Any:
        calls.append(frame)
        if len(calls) == 2:
            raise RuntimeError("bad mood")
        return "nonsense" if len(calls) == 4 else []

    worker = workers.start(kernel, moody)
    assert kernel.wait_for(accepted(5))
    assert worker.metrics.totals()["handler_errors"] == 2
    assert "bad mood" in caplog.text


def test_a_task_that_cannot_be_served_is_told_in_one_line(
    kernel: Kernel, workers: Running, caplog: pytest.LogCaptureFixture
) -> None:
    class Choosy:
        def __init__(self, task: WorkerTask) -> None:
            if "weights" in task.config:
                raise TaskError("no such model")

        def analyze(self, _frame: Frame) -> None:
            """Sees nothing."""

    bad, good = kernel.add_task(fps=30, config={"weights": 1}), kernel.add_task(fps=30, camera_id="cam_other")
    workers.start(kernel, Choosy)
    assert kernel.wait_for(accepted(3))
    assert {b.task_id for b in kernel.ingest.batches} == {good.id}
    (line,) = [r for r in caplog.records if "no such model" in r.getMessage()]
    assert line.exc_info is None
    kernel.change_task(bad.id, config={})
    assert kernel.wait_for(lambda k: bad.id in {b.task_id for b in k.ingest.batches})


def test_functions_are_called_one_at_a_time_unless_parallel(kernel: Kernel, workers: Running) -> None:
    for name in ("alone", "together"):
        for profile in ("sub", "main"):
            for camera in (CAMERA, "cam_other"):
                kernel.add_task(name, camera, fps=30, stream_profile=profile)
    inside = {"alone": 0, "together": 0}
    most = {"alone": 0, "together": 0}
    gate = threading.Event()

    def watch(frame: Frame) -> None:
        name = frame.task.task_type
        inside[name] += 1
        most[name] = max(most[name], inside[name])
        gate.wait(0.02)
        inside[name] -= 1

    workers.start(kernel, lambda f: watch(f), "alone")
    workers.start(kernel, lambda f: watch(f), "together", task={"parallel": True})
    assert kernel.wait_for(accepted(60))
    assert most["alone"] == 1
    assert most["together"] > 1


def test_batches_hold_frames_of_several_tasks(kernel: Kernel, workers: Running) -> None:
    tasks = [
        kernel.add_task(camera_id=c, stream_profile=p, fps=30) for c in (CAMERA, "cam_other") for p in ("sub", "main")
    ]
    sizes: list[int] = []

    def analyze(frames: list[Frame]) -> list[list[Detection]]:
        assert len({f.task.id for f in frames}) == len(frames)
        sizes.append(len(frames))
        return [[Detection(f.task.id)] for f in frames]

    workers.start(kernel, analyze, task={"batch": 3, "batch_wait_ms": 50})
    assert kernel.wait_for(accepted(60))
    assert max(sizes) == 3
    assert {d["label"] for d in kernel.ingest.detections} == {t.id for t in tasks}
    assert all(d["label"] == d["task_id"] for d in kernel.ingest.detections)


def test_one_broken_picture_costs_its_batch_nothing(kernel: Kernel, workers: Running) -> None:
    good, bad = kernel.add_task(fps=30), kernel.add_task(fps=30, camera_id="cam_other")

    def spoil(request: Request) -> Reply | None:
        if "cam_other" not in request.path:
            return None
        reply = answer(kernel, request)
        reply.body = b"\xff\xd8 broken" if reply.status == 200 else reply.body
        return reply

    kernel.intercept = spoil
    worker = workers.start(
        kernel, lambda frames: [[Detection(str(f.image.shape))] for f in frames], task={"batch": 2, "batch_wait_ms": 50}
    )
    assert kernel.wait_for(lambda k: k.ingest.accepted >= 10 and worker.metrics.totals()["broken"] >= 5)
    assert {b.task_id for b in kernel.ingest.batches} == {good.id}
    assert bad.id not in {b.task_id for b in kernel.ingest.batches}


def test_a_lease_that_runs_out_stops_its_tasks(
    kernel: Kernel, workers: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No server grants less than 15 s; this worker believes in two.
    monkeypatch.setattr(Settings, "ttl_secs", property(lambda _: 2))
    kernel.add_task(fps=30)
    worker = workers.start(kernel, nothing)
    assert kernel.wait_for(accepted(2))
    # As after the revocation of a key: every look is refused from now on.
    kernel.intercept = lambda r: Reply(403, {"error": "no"}) if r.path == "/api/v1/ai/leases" else None
    assert kernel.wait_for(lambda _: worker.metrics.tasks == 0)
    kernel.intercept = None
    before = kernel.ingest.accepted
    assert kernel.wait_for(accepted(before + 2))


def test_too_many_detections_are_cut_to_the_best(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=5)
    workers.start(kernel, lambda _: [Detection("x", (n % 1100) / 1100) for n in range(1100)])
    assert kernel.wait_for(accepted(1))
    kept = [d["confidence"] for d in bodies(kernel)[0]["detections"]]
    assert len(kept) == 1000
    assert min(kept) == pytest.approx(100 / 1100)


def test_memory_does_not_grow_with_frames(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30, width=320)

    def slow(request: Request) -> Reply | None:
        # The record of requests is the kernel's own memory.
        kernel.requests.clear()
        return None

    kernel.intercept = slow
    workers.start(kernel, lambda f: [Detection(str(f.image.shape))])
    assert kernel.wait_for(accepted(20))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    assert kernel.wait_for(accepted(80))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Sixty frames of 320 x 180 are 10 MB as pictures; what the kernel keeps of their results is small.
    assert after - before < 3_000_000


def test_metrics_are_served_on_request(kernel: Kernel, workers: Running) -> None:
    kernel.add_task(fps=30)
    with Kernel() as other:
        port = int(other.url.rpartition(":")[2])
    workers.start(kernel, nothing, metrics=f"127.0.0.1:{port}")
    assert kernel.wait_for(accepted(3))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
        text = page.read().decode()
    assert 'heldar_worker_frames_total{task_type="test"}' in text
    assert "heldar_worker_tasks 1" in text


def test_a_worker_without_handlers_or_with_two_for_one_type_is_a_mistake() -> None:
    worker = Worker(Settings())
    with pytest.raises(ValueError, match="register one"):
        worker.run()
    worker.task("a")(nothing)
    with pytest.raises(ValueError, match="has a handler already"):
        worker.task("a")(nothing)
    with pytest.raises(ValueError, match="at least 1"):
        worker.task("b", batch=0)
    with pytest.raises(ValueError, match="name at least one"):
        worker.task()


PROGRAM = """
import sys, threading
from heldar_worker import Detection, Worker
worker = Worker()
@worker.task("test")
def analyze(frame):
    print("at hand", flush=True)
    threading.Event().wait(float(sys.argv[1]))
    return [Detection("done")]
sys.exit(worker.run())
"""


@pytest.mark.parametrize(("number", "seconds"), [(signal.SIGTERM, "0.5"), (signal.SIGINT, "0")])
def test_a_signal_ends_it_after_the_frame_at_hand(number: signal.Signals, seconds: str) -> None:
    with Kernel(keys={"vok_secret": "key_1"}) as kernel:
        kernel.add_task(fps=10)
        env = {
            **os.environ,
            "PYTHONPATH": str(SOURCES / "src"),
            "HELDAR_API": kernel.url,
            "HELDAR_API_KEY": "vok_secret",
        }
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, seconds], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "at hand\n"
        assert kernel.wait_for(accepted(1), 20)
        assert process.stdout.readline() == "at hand\n"
        at = time.time()
        process.send_signal(number)
        _, log = process.communicate(timeout=20)
        assert process.returncode == 0
        assert [r.reply.body for r in kernel.seen("DELETE", "/ai/leases/") if r.reply] == [{"released": 1}]
        after = [r for r in kernel.seen("POST", "/ai/events") if r.at > at]
        assert seconds == "0" or len(after) == 1
        assert "vok_secret" not in log
        assert "finishing" in log


def test_refused_keys_are_logged_without_the_key(workers: Running, caplog: pytest.LogCaptureFixture) -> None:
    with Kernel(keys={"vok_right": "key_1"}) as kernel, caplog.at_level(logging.DEBUG):
        kernel.add_task()
        workers.start(kernel, nothing, api_key="vok_wrong")
        assert kernel.wait_for(lambda k: len(k.seen("POST", "/ai/leases")) >= 2)
        workers.stop()
        assert "invalid or expired credentials" in caplog.text
        assert "vok_wrong" not in caplog.text
