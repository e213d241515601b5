"""Does a worker keep the contract? W1 to W5, watched from a testing kernel.

Owns: the situations a worker is put into, and what must be seen. Nothing of the worker is assumed but its
command: it is told by `HELDAR_*` variables where the kernel is. What takes time is waited for as an event,
with a limit.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Callable

from ..frame import parse_time
from ..kernel import Kernel, Reply, Request
from ..kernel.ingest import box_trouble
from ..kernel.routes import answer
from ..kernel.sources import DrawnSource, Source
from ..kernel.state import Task
from .process import WorkerProcess
from .report import Report, SkippedError

_CAMERA = "cam_conformance"
# What the worker is told; short, so that the whole suite takes less than a minute.
_BACKOFF_BASE, _BACKOFF_CAP = 0.2, 2.0
_HTTP_TIMEOUT = 1.0
_TTL = 15


@dataclass(frozen=True)
class Plan:
    """How to run the suite."""

    command: str | Sequence[str]
    #: None = what the worker asks for first, else `detection`.
    task_type: str | None = None
    #: Config of the tasks the worker gets.
    config: Mapping[str, Any] = field(default_factory=dict)
    #: Seconds a worker may take until its first request or first result.
    startup: float = 60.0
    pictures: Callable[[], Source] = DrawnSource


def run(plan: Plan, report: Report, parallel: bool = False) -> None:
    """All checks, in four runs of the worker, one after the other unless `parallel`."""
    suites = (_Leased, _Discovered, _Pictures, _Posts)
    if parallel:
        reports = [Report() for _ in suites]
        with ThreadPoolExecutor(len(suites)) as pool:
            running = [pool.submit(s(plan, r).run) for s, r in zip(suites, reports)]
            # In the order of the suites, so that two runs print alike.
            for done, part in zip(running, reports):
                done.result()
                for check in part.checks:
                    report.add(check.group, check.name, check.outcome, check.detail)
    else:
        for suite in suites:
            suite(plan, report).run()
    report.skip("W6", "streaming transport", "P2 of the contract; checked once it exists")


class _Suite:
    """One run of the worker under one kernel."""

    poll_interval = 1
    leases = True

    def __init__(self, plan: Plan, report: Report) -> None:
        self.plan = plan
        self.report = report
        self.key = f"vok_{secrets.token_hex(32)}"
        self.kernel = Kernel({_CAMERA: plan.pictures}, keys={self.key: "key_conformance"}, leases=self.leases)
        self.worker: WorkerProcess
        self.task_type = "detection"

    def run(self) -> None:
        """Start the worker, make the checks, end it."""
        env = {
            "HELDAR_API": self.kernel.url,
            "HELDAR_API_KEY": self.key,
            "HELDAR_AI_WORKER_ID": "conformance-worker",
            "HELDAR_AI_TRANSPORT": "poll",
            "HELDAR_AI_POLL_INTERVAL": str(self.poll_interval),
            "HELDAR_AI_LEASE_TTL": str(_TTL),
            "HELDAR_HTTP_TIMEOUT": str(_HTTP_TIMEOUT),
            "HELDAR_HTTP_MAX_RETRIES": "5",
            "HELDAR_HTTP_BACKOFF_BASE": str(_BACKOFF_BASE),
            "HELDAR_HTTP_BACKOFF_CAP": str(_BACKOFF_CAP),
        }
        self.worker = WorkerProcess(self.plan.command, env)
        try:
            if not self._started():
                tail = self.worker.output()[-300:]
                self.report.expect("W1", f"{self.name()}: starts and asks for tasks", False, f"it printed: {tail}")
                return
            self.checks()
            self.report.expect(
                "W2", f"{self.name()}: the key is never printed", self.key not in self.worker.output(), "it is"
            )
        finally:
            self.worker.close()
            self.kernel.close()

    def checks(self) -> None:
        """What this run is for."""
        raise NotImplementedError

    def name(self) -> str:
        """How lines of this run begin."""
        raise NotImplementedError

    def _started(self) -> bool:
        def asked(kernel: Kernel) -> bool:
            return bool(kernel.seen("POST", "/ai/leases") or kernel.seen("GET", "/ai/tasks"))

        if not self.until(asked, self.plan.startup):
            return False
        first = next(iter(self.kernel.seen("POST", "/ai/leases")), None)
        types = _json(first).get("task_types") if first is not None else None
        offered = next((t for t in types if isinstance(t, str)), None) if isinstance(types, list) else None
        self.task_type = self.plan.task_type or offered or "detection"
        return True

    def until(self, condition: Callable[[Kernel], Any], seconds: float = 10.0) -> bool:
        """Wait for a condition on the record of requests; gives up when the worker ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.kernel.wait_for(condition, 0.25):
                return True
            if not self.worker.alive:
                return bool(condition(self.kernel))
        return False

    def watch(self, seconds: float) -> None:
        """Let the worker do for a while what it does; an end of the worker ends it."""
        self.until(lambda _: False, seconds)

    def add_task(self, **fields: Any) -> Task:
        """A task of the worker's type."""
        fields = {"fps": 10, "width": 320, "config": dict(self.plan.config), **fields}
        return self.kernel.add_task(self.task_type, _CAMERA, **fields)

    def posts(self, since: float = 0.0) -> list[Request]:
        """Results that came in."""
        return [r for r in self.kernel.seen("POST", "/ai/events") if r.at >= since]

    def pulls(self, task_id: str | None = None, since: float = 0.0) -> list[Request]:
        """Frames that were asked for."""
        return [
            r
            for r in self.kernel.seen("GET", "/frame")
            if r.at >= since and (task_id is None or r.query.get("task") == task_id)
        ]


class _Leased(_Suite):
    """The ordinary life: leases, tickets, changes of tasks, the end."""

    def name(self) -> str:
        return "with leases"

    def checks(self) -> None:
        report, kernel = self.report, self.kernel
        first = next((r for r in kernel.requests if "/ai/leases" in r.path or "/ai/tasks" in r.path), None)
        report.expect("W1", "asks for a lease first", first is not None and first.method == "POST")
        with report.check("W1", "the lease lasts at least three poll intervals"):
            assert _json(first).get("ttl_secs", 60) >= 3 * self.poll_interval
        self._bad_tasks()
        task = self.add_task()
        report.expect("W1", "takes up a new task", self.until(lambda _: self.pulls(task.id)), "no frame was pulled")
        arrived = self.until(lambda _: len(self.posts()) >= 3, self.plan.startup)
        report.expect("W4", "posts results", arrived, "no results came; empty ones count too")
        self._renewals(task)
        self._changes(task)
        self._credentials()
        self._results()
        self._end()

    def _bad_tasks(self) -> None:
        """Tasks whose frames lie elsewhere: such a URL would carry the key to another host."""
        elsewhere = Kernel({"cam_elsewhere": DrawnSource})
        urls = {
            "ai_elsewhere": f"{elsewhere.url}/api/v1/cameras/cam_elsewhere/frame?task=ai_elsewhere",
            "ai_upward": f"/api/v1/cameras/{_CAMERA}/../../../secret?task=ai_upward",
        }

        def add(request: Request) -> Reply | None:
            if request.method != "POST" or request.path != "/api/v1/ai/leases":
                return None
            reply = answer(self.kernel, request)
            if reply.status == 200:
                same = {"camera_id": _CAMERA, "task_type": self.task_type, "stream_profile": "sub", "fps": 10}
                reply.body["tasks"] += [
                    {"id": k, "frame_url": u, "width": 320, "config": {}, **same} for k, u in urls.items()
                ]
            return reply

        self.kernel.intercept = add
        before = len(self.kernel.seen("POST", "/ai/leases"))
        self.until(lambda k: len(k.seen("POST", "/ai/leases")) >= before + 3, 10)
        followed = bool(elsewhere.requests) or any(r.query.get("task") in urls for r in list(self.kernel.requests))
        elsewhere.close()
        self.kernel.intercept = None
        self.report.expect("W2", "refuses frame_url with :// or ..", not followed, "it asked for such a frame")

    def _renewals(self, task: Task) -> None:
        began = time.time()
        before = len(self.kernel.seen("POST", "/ai/leases"))
        self.until(lambda k: len(k.seen("POST", "/ai/leases")) >= before + 4, 15)
        calls = [r.at for r in self.kernel.seen("POST", "/ai/leases")]
        gaps = [b - a for a, b in zip(calls, calls[1:])]
        self.report.expect(
            "W1",
            "renews with a third of the time left",
            len(calls) > before + 3 and max(gaps) <= _TTL * 2 / 3,
            f"longest pause {max(gaps, default=0.0):.1f} s, {len(calls)} calls",
        )
        with self.report.check("W1", "a renewal alone restarts nothing"):
            pulls = self.pulls(task.id)
            if not any("after" in r.query for r in pulls):
                raise SkippedError("this worker does not use `after`, so a restart does not show")
            fresh = [r for r in pulls if r.at >= began and "after" not in r.query]
            assert not fresh, f"{len(fresh)} pulls began anew"

    def _changes(self, task: Task) -> None:
        since = time.time()
        other = self.add_task(stream_profile="main", fps=5)
        self.report.expect(
            "W1", "takes up a second task", self.until(lambda _: self.pulls(other.id)), "no frame was pulled"
        )
        self.kernel.change_task(task.id, config={**dict(self.plan.config), "conformance": 1})
        went_on = self.until(lambda _: [p for p in self.pulls(task.id, time.time() - 0.5) if p.at > since + 1], 10)
        self.report.expect("W1", "goes on after a change of config", went_on, "pulls ended")
        self.kernel.change_task(other.id, enabled=False)
        renewed = len(self.kernel.seen("POST", "/ai/leases"))
        self.until(lambda k: len(k.seen("POST", "/ai/leases")) >= renewed + 2, 10)
        # One request may still be on its way.
        quiet_from = time.time() + 1.0
        self.watch(2.5)
        late = self.pulls(other.id, quiet_from)
        self.report.expect("W1", "lets a task go that is no longer its own", not late, f"{len(late)} pulls came after")

    def _credentials(self) -> None:
        rows = list(self.kernel.requests)
        keyless = [
            r for r in rows if self.key not in (r.headers.get("x-api-key"), r.headers.get("authorization", "")[7:])
        ]
        self.report.expect("W2", "sends its key with every request", not keyless, f"{len(keyless)} requests without")
        named = [r for r in self.pulls() if "task" not in r.query]
        self.report.expect("W2", "names the task with every pull", not named, f"{len(named)} pulls without")

    def _results(self) -> None:
        served: dict[str, str] = {}
        for pull in self.pulls():
            if pull.reply is not None and "x-frame-ticket" in pull.reply.headers:
                served[pull.reply.headers["x-frame-ticket"]] = pull.reply.headers["x-frame-captured-at"]
        posts = self.posts()
        bodies = [_json(r) for r in posts]
        report = self.report
        with report.check("W4", "echoes the ticket of the very frame"):
            strangers = [b for b in bodies if served.get(str(b.get("frame_ticket"))) is None]
            assert bodies, "no posts"
            assert not strangers, f"{len(strangers)} of {len(bodies)} posts carry no ticket that was served"
            wrong = [b for b in bodies if b.get("timestamp") not in (None, served[b["frame_ticket"]])]
            assert not wrong, f"{len(wrong)} posts carry the time of another frame"
        with report.check("W4", "boxes within 0..1, at most 1000 detections, all accepted"):
            for body in bodies:
                assert len(body.get("detections", [])) <= 1000, "more than 1000 detections"
                for detection in body.get("detections", []):
                    trouble = box_trouble(detection["bbox"]) if detection.get("bbox") is not None else None
                    assert trouble is None, f"box {detection['bbox']}: {trouble}"
            refused = [r.reply.body for r in posts if r.reply is not None and r.reply.status in (400, 413, 415, 422)]
            assert not refused, f"{len(refused)} posts refused, first: {refused[0]}"

    def _end(self) -> None:
        status = self.worker.terminate(20)
        self.report.expect("W1", "ends with status 0 on SIGTERM", status == 0, f"status {status}")
        released = [r for r in self.kernel.seen("DELETE", "/ai/leases/") if r.reply and r.reply.status == 200]
        self.report.expect("W1", "releases its lease on SIGTERM", released, "no release was seen")


class _Discovered(_Suite):
    """A server without leases."""

    leases = False

    def name(self) -> str:
        return "without leases"

    def checks(self) -> None:
        report = self.report
        task = self.add_task()
        found = self.until(lambda k: len(k.seen("GET", "/ai/tasks")) >= 3, 15)
        report.expect("W1", "discovers tasks after a 404", found, "GET /api/v1/ai/tasks was not seen")
        named = [r for r in self.kernel.seen("GET", "/ai/tasks") if not r.query.get("worker_id")]
        report.expect("W1", "names itself when it discovers", not named, f"{len(named)} calls without worker_id")
        asked = len(self.kernel.seen("POST", "/ai/leases"))
        report.expect("W1", "asks for a lease only once where there are none", asked == 1, f"{asked} times")
        self.until(lambda _: len(self.posts()) >= 3, self.plan.startup)
        pulls = [p.reply.headers for p in self.pulls(task.id) if p.reply is not None and p.reply.status == 200]
        expected = {f"{task.id}:{h['x-frame-captured-at']}" for h in pulls}
        with report.check("W4", "without ticket, frame_id is <task id>:<captured at>"):
            bodies = [_json(r) for r in self.posts()]
            assert bodies, "no posts"
            wrong = [b.get("frame_id") for b in bodies if b.get("frame_id") not in expected]
            assert not wrong, f"{len(wrong)} others, first {wrong[0]!r}"
        status = self.worker.terminate(20)
        report.expect("W1", "ends with status 0 on SIGTERM, without lease", status == 0, f"status {status}")


class _Faulty(_Suite):
    """A server that is slow, wrong or away."""

    # Well apart from what a lost lease should cause.
    poll_interval = 5

    def checks(self) -> None:
        self.add_task()
        if not self.until(lambda _: len(self.posts()) >= 2, self.plan.startup):
            self.report.expect("W3", f"{self.name()}: posts before anything goes wrong", False, "no results came")
            return
        self.faults()
        status = self.worker.terminate(20)
        self.report.expect("W5", f"{self.name()}: ends with status 0 on SIGTERM", status == 0, f"status {status}")

    def faults(self) -> None:
        """What goes wrong, one after the other."""
        raise NotImplementedError

    def _frames(self, change: Callable[[Reply], Reply | None]) -> None:
        """Change every answer that would have been a frame."""

        def intercept(request: Request) -> Reply | None:
            if not request.path.endswith("/frame"):
                return None
            reply = answer(self.kernel, request)
            return change(reply) if reply.status == 200 else reply

        self.kernel.intercept = intercept

    def _events(self, change: Callable[[Request], Reply | None]) -> None:
        """Answer posts of results."""
        self.kernel.intercept = lambda r: change(r) if r.path == "/api/v1/ai/events" else None

    def _drain(self) -> None:
        """Let what is on its way arrive."""
        self.watch(0.7)

    def _recovers(self) -> bool:
        self.kernel.intercept = None
        since = time.time()
        return self.until(lambda _: self.posts(since), 15)


class _Pictures(_Faulty):
    """Frames that are old, odd or broken, and a slow server."""

    def name(self) -> str:
        return "under bad frames"

    def faults(self) -> None:
        self._unchanged_and_stale()
        self._odd_answers()
        self._slow_server()

    def _unchanged_and_stale(self) -> None:
        held: dict[str, Any] = {}

        def same(reply: Reply) -> Reply:
            held.setdefault("reply", reply)
            first: Reply = held["reply"]
            number = str(int(time.time() * 1000))
            return Reply(200, first.body, {**first.headers, "x-frame-seq": number, "x-frame-age-ms": "100"})

        self._frames(same)
        self._drain()
        since = time.time()
        self.watch(1.5)
        again = self.posts(since)
        pulled = len(self.pulls(since=since))
        self.report.expect(
            "W3",
            "skips a frame it has seen",
            pulled and len(again) <= 1,
            f"{len(again)} posts of one frame, {pulled} pulls",
        )

        def old(reply: Reply) -> Reply:
            reply.headers["x-frame-age-ms"] = "60000"
            return reply

        self._frames(old)
        self._drain()
        since = time.time()
        self.watch(1.5)
        self.report.expect("W3", "skips stale frames", not self.posts(since), f"{len(self.posts(since))} were posted")

    def _odd_answers(self) -> None:
        odd: list[tuple[str, Callable[[Reply], Reply]]] = [
            ("304", lambda r: Reply(304, headers={"ETag": r.headers["ETag"]})),
            ("204", lambda r: Reply(204, headers={"x-frame-seq": r.headers["x-frame-seq"]})),
            ("404", lambda _: Reply(404, {"error": "no sampled frame yet", "code": "not_found", "reason": "starting"})),
            ("an empty picture", lambda r: Reply(200, b"", r.headers)),
            ("a broken JPEG", lambda r: Reply(200, r.body[: len(r.body) // 3], r.headers)),
            ("bytes that are no JPEG", lambda r: Reply(200, b"\xff\xd8no picture" * 50, r.headers)),
            ("a frame without capture time", lambda r: Reply(200, r.body, _without(r.headers, "x-frame-captured-at"))),
        ]
        for name, change in odd:
            self._frames(change)
            since = time.time()
            self.watch(0.8)
            asked = len(self.pulls(since=since))
            well = self.worker.alive and self._recovers()
            self.report.expect("W3", f"survives {name}", well, "no results afterwards")
            if name in ("304", "204", "404"):
                # The task wants 10 a second; a worker that is answered at once must not spin.
                self.report.expect("W3", f"does not spin on {name}", asked <= 25, f"{asked} pulls in 0.8 s at 10 fps")

    def _slow_server(self) -> None:
        """Results that take half a second to store: the frames between must be skipped, not queued."""

        def slow(request: Request) -> Reply | None:
            threading.Event().wait(0.5)
            return answer(self.kernel, request)

        self._events(slow)
        self._drain()
        memory = self.worker.memory_kib()
        since = time.time()
        self.watch(4)
        posts = [r for r in self.posts(since) if r.reply is not None and r.reply.status == 200]
        captured = [_captured_ms(_json(r)) for r in posts]
        ages = [r.at * 1000 - ms for r, ms in zip(posts, captured) if ms is not None]
        late = ages[len(ages) // 2 :]
        self.report.expect(
            "W3",
            "skips frames when it is slow, no growing backlog",
            late and max(late) < 2500,
            f"results are {max(late, default=0) / 1000:.1f} s behind" if late else "no results",
        )
        now = self.worker.memory_kib()
        with self.report.check("W3", "memory does not grow meanwhile"):
            if memory is None or now is None:
                raise SkippedError("this system does not tell the memory of a process")
            assert now - memory < 32 * 1024, f"{(now - memory) // 1024} MiB more after 4 s"
        self._recovers()


class _Posts(_Faulty):
    """Results that are refused, lost or not answered."""

    def name(self) -> str:
        return "under failing posts"

    def faults(self) -> None:
        self._server_errors()
        self._refusals()
        self._lost_leases()

    def _server_errors(self) -> None:
        self._server_error("503", _unavailable, 3)
        self._server_error("a cut connection", _hang_up, 2)
        self._server_error("silence", _silent, 2)

    def _server_error(self, name: str, fault: Callable[[], Reply], times: int) -> None:
        seen: list[Request] = []

        def fail(request: Request) -> Reply | None:
            # Only the first key is failed: another result may be on its way at the same time.
            if not seen or _key(request) == _key(seen[0]):
                seen.append(request)
                if len(seen) <= times:
                    return fault()
            return None

        self._events(fail)
        done = self.until(lambda _: len(seen) > times, 25)
        self.report.expect("W5", f"repeats the same result after {name}", done, f"{len(seen)} tries of {times + 1}")
        if name == "503" and done:
            pauses = [b.at - a.at for a, b in zip(seen, seen[1:])]
            lows = [min(_BACKOFF_CAP, _BACKOFF_BASE * 2**n) * 0.9 for n in range(len(pauses))]
            self.report.expect(
                "W5",
                "the pause between repetitions grows",
                all(p >= low for p, low in zip(pauses, lows)),
                f"pauses {[round(p, 2) for p in pauses]} s",
            )
        self._recovers()

    def _refusals(self) -> None:
        for status in (400, 403, 404, 413, 422):
            self._refusal(status)

    def _refusal(self, status: int) -> None:
        seen: list[str] = []

        def refuse(request: Request) -> Reply:
            seen.append(_key(request))
            return Reply(status, {"error": "refused by the conformance suite", "code": "validation"})

        self._events(refuse)
        self.until(lambda _: len(seen) >= 3, 10)
        repeated = len(seen) - len(set(seen))
        self.report.expect(
            "W5",
            f"never repeats after {status}",
            seen and not repeated and self._recovers(),
            f"{repeated} repetitions" if seen else "no results",
        )

    def _lost_leases(self) -> None:
        self._lost_lease("409", 409, "the lease moved on")
        self._lost_lease("401 frame_ticket", 401, "frame_ticket is invalid or expired")
        self._lost_lease("401 lease", 401, "no live lease on the task of this frame")

    def _lost_lease(self, name: str, status: int, text: str) -> None:
        seen: list[Request] = []

        def refuse(request: Request) -> Reply | None:
            seen.append(request)
            return Reply(status, {"error": text, "code": "conflict"}) if len(seen) == 1 else None

        self._events(refuse)
        self.until(lambda _: seen, 10)
        at = seen[0].at if seen else time.time()
        # Well before the next regular look, which is up to five seconds away.
        asked = self.until(lambda k: [r for r in k.seen("POST", "/ai/leases") if r.at > at], 2.0)
        well = self._recovers()
        # The same picture may be pulled and analysed anew; the old batch must not come again without that.
        again = [r.at for r in seen[1:] if _key(r) == _key(seen[0])]
        fresh = [p.at for p in self.pulls(since=at) if p.reply is not None and p.reply.status == 200]
        dropped = seen and not any(not [f for f in fresh if f < a] for a in again)
        self.report.expect("W5", f"drops the batch after {name}", dropped, "it came again")
        self.report.expect("W5", f"asks for tasks at once after {name}", asked, "no call within 2 s")
        self.report.expect("W5", f"goes on after {name}", well, "no further results")


def _json(request: Request | None) -> dict[str, Any]:
    if request is None:
        return {}
    try:
        value = json.loads(request.raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _key(request: Request) -> str:
    body = _json(request)
    return str(body.get("frame_ticket") or body.get("frame_id") or body.get("timestamp"))


def _captured_ms(body: dict[str, Any]) -> int | None:
    try:
        return int(parse_time(str(body.get("timestamp"))).timestamp() * 1000)
    except ValueError:
        return None


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k != name}


def _unavailable() -> Reply:
    return Reply(503, {"error": "database busy; retry shortly", "code": "busy"})


def _hang_up() -> Reply:
    return Reply(0, hang_up=True)


def _silent() -> Reply:
    # Longer than the worker waits.
    threading.Event().wait(_HTTP_TIMEOUT + 0.5)
    return Reply(0, hang_up=True)
