"""S2 to S4: sharing among workers, frames and their headers, edits that disturb nobody."""

from __future__ import annotations

import io
import re
import time
from datetime import timedelta
from typing import Any

from ..frame import parse_time
from .report import Report, SkippedError
from .server_routes import error_form
from .session import Answer, Session

_TASKS = 6
# A task on its way to another worker is free after five seconds at most.
_HANDOVER = 9.0


def run(session: Session, second: Session | None, report: Report) -> None:
    """All of them."""
    _sharing(session, report)
    _two_keys(session, second, report)
    frames(session, report)
    _edits(session, report)


class _Team:
    """Workers that renew in turns until everyone has what is meant for it."""

    def __init__(self, types: list[str]) -> None:
        self.types = types
        self.leases: dict[str, dict[str, Any]] = {}

    def renew(self, session: Session, *workers: str, types: list[str] | None = None) -> None:
        for worker in workers:
            self.leases[worker] = session.lease(worker, types or self.types)

    def held(self, worker: str) -> set[str]:
        return {t["id"] for t in self.leases[worker]["tasks"]}

    def exactly_once(self, tasks: set[str]) -> bool:
        sets = [self.held(w) for w in self.leases]
        return sum(map(len, sets)) == len(tasks) and set().union(*sets) == tasks


def _sharing(session: Session, report: Report) -> None:
    with report.check("S2", "one worker gets every task"):
        made = [session.create(f"share_{i}", fps=0.02) for i in range(_TASKS)]
        tasks, types = {t["id"] for t in made}, [t["task_type"] for t in made]
        team = _Team(types)
        team.renew(session, "a")
        assert team.held("a") == tasks, f"{len(team.held('a'))} of {_TASKS}"
        first_id = team.leases["a"]["lease_id"]
    with report.check("S2", "a worker joins: every task has one holder at every moment, then again in all"):
        until = time.monotonic() + _HANDOVER
        while True:
            team.renew(session, "b", "a")
            overlap = team.held("a") & team.held("b")
            assert not overlap, f"{len(overlap)} tasks are held twice"
            if team.exactly_once(tasks) or time.monotonic() > until:
                break
            time.sleep(0.5)
        team.renew(session, "a", "b")
        assert team.exactly_once(tasks), f"a holds {len(team.held('a'))}, b {len(team.held('b'))} of {_TASKS}"
    with report.check("S2", "loads within the bound"):
        # Equal tasks: nobody passes 1.25 times the half, a task apart where all would.
        most = max(len(team.held("a")), len(team.held("b")))
        assert most <= _TASKS // 2 + 1, f"one holds {most} of {_TASKS}"
    with report.check("S2", "lease ids stay the same"):
        assert team.leases["a"]["lease_id"] == first_id, "a's changed"
    with report.check("S2", "a worker leaves: the other has everything"):
        session.release(team.leases.pop("b")["lease_id"]).must(200)
        team.renew(session, "a")
        assert team.held("a") == tasks, f"{len(team.held('a'))} of {_TASKS}"
    with report.check("S2", "max_tasks limits a worker"):
        session.release(team.leases.pop("a")["lease_id"])
        limited = session.lease("limited", types, max_tasks=2)
        assert len(limited["tasks"]) == 2, f"{len(limited['tasks'])} tasks"
        session.release(limited["lease_id"])
    with report.check("S2", "workers of disjoint types each get all of theirs"):
        one, other = session.lease("c", types[:2]), session.lease("d", types[2:])
        assert {t["id"] for t in one["tasks"]} == {t["id"] for t in made[:2]}, "the first has others"
        assert {t["id"] for t in other["tasks"]} == {t["id"] for t in made[2:]}, "the second has others"
        for lease in (one, other):
            session.release(lease["lease_id"])
    for task in made:
        session.drop(task["id"])


def _two_keys(session: Session, second: Session | None, report: Report) -> None:
    with report.check("S2", "two keys never hold one task together"):
        if second is None:
            raise SkippedError("give a second key with --second-key-env")
        task = session.create("two_keys", fps=0.02)
        held = [len(s.lease("k", [task["task_type"]])["tasks"]) for s in (session, second, session, second)]
        assert held[0] == 1, "the first key got nothing"
        assert not (held[2] and held[3]), "both hold it"
        lease = session.lease("k", [task["task_type"]])
        foreign = second.release(lease["lease_id"]).must(200).json
        assert foreign == {"released": 0}, f"the second key released the first one's lease: {foreign}"
        session.drop(task["id"])


def _jpeg_size(answer: Answer) -> tuple[int, int]:
    from PIL import Image as Pictures

    with Pictures.open(io.BytesIO(answer.response.body), formats=("JPEG",)) as picture:
        picture.load()
        return picture.size


def frames(session: Session, report: Report) -> None:
    """S3."""
    with report.check("S3", "no ticket without lease, one with"):
        task = session.create("frames", fps=10, width=320)
        free = session.first_frame(task["id"])
        assert not free.header("x-frame-ticket"), "a ticket without lease"
        session.lease("frames", [task["task_type"]])
        frame = session.first_frame(task["id"])
        assert frame.header("x-frame-ticket"), "no ticket with lease"
        unnamed = session.frame(1000).must(200)
        assert not unnamed.header("x-frame-ticket"), "a ticket without task"
    with report.check("S3", "headers agree with each other and with the picture"):
        for _ in range(10):
            _agree(session.frame(1000, task=task["id"], after=_seq(session.frame(task=task["id"]))).must(200), task)
    with report.check("S3", "one number, one picture, one time"):
        frame = session.frame(task=task["id"]).must(200)
        same = session.frame(task=task["id"], seq=_seq(frame)).must(200)
        assert same.response.body == frame.response.body, "other bytes"
        assert same.header("x-frame-captured-at") == frame.header("x-frame-captured-at"), "another time"
    with report.check("S3", "numbers and times rise"):
        _rising(session, task["id"])
    with report.check("S3", "304 for the ETag of what would be sent, without body or ticket"):
        frame = session.frame(task=task["id"]).must(200)
        query = {"profile": "sub", "task": task["id"], "seq": frame.header("x-frame-seq")}
        unchanged = session.conditional(f"{session.camera}/frame", frame.header("etag"), **query).must(304)
        assert not unchanged.response.body, "a body"
        assert not unchanged.header("x-frame-ticket"), "a ticket"
    with report.check("S3", "204 with the newest number when nothing newer came"):
        slow = session.create("slow", fps=0.5, width=320)
        newest = session.first_frame(slow["id"])
        answer = session.frame(task=slow["id"], after=_seq(newest))
        if answer.status != 204:
            answer = session.frame(task=slow["id"], after=_seq(answer))
        assert answer.must(204).header("x-frame-seq").isdigit(), "no x-frame-seq"
        assert not answer.response.body, "a body"
        session.drop(slow["id"])
    with report.check("S3", "a long poll ends with the next picture"):
        frame = session.frame(task=task["id"]).must(200)
        began = time.monotonic()
        later = session.frame(5000, task=task["id"], after=_seq(frame)).must(200)
        assert _seq(later) > _seq(frame), "not newer"
        assert time.monotonic() - began < 2, f"after {time.monotonic() - began:.1f} s at 10 fps"
    with report.check("S3", "a number above the newest counts as absent"):
        session.frame(task=task["id"], after=10**15).must(200)
    with report.check("S3", "width scales down, never up"):
        small = session.frame(task=task["id"], width=64).must(200)
        assert _jpeg_size(small)[0] == 64, f"{_jpeg_size(small)[0]} wide"
        large = session.frame(task=task["id"], width=3840).must(200)
        assert _jpeg_size(large)[0] == int(large.header("x-frame-width")), "the header differs"
    with report.check("S3", "a number that fell out of the ring: 404 evicted"):
        answer = session.frame(task=task["id"], seq=1)
        error_form(answer, 404, "not_found")
        assert answer.json.get("reason") == "evicted", str(answer.json.get("reason"))
    with report.check("S3", "pick=next gives every picture, pick=newest tells what it skipped"):
        _picks(session, task["id"])


def _seq(answer: Answer) -> int:
    text = answer.header("x-frame-seq")
    assert text.isdigit(), f"x-frame-seq {text!r} (status {answer.status})"
    return int(text)


def _agree(frame: Answer, task: dict[str, Any]) -> None:
    assert frame.header("content-type") == "image/jpeg", frame.header("content-type")
    assert frame.header("cache-control") == "no-store", frame.header("cache-control")
    captured = frame.header("x-frame-captured-at")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", captured), captured
    assert frame.header("x-frame-age-ms").isdigit(), frame.header("x-frame-age-ms")
    size = (int(frame.header("x-frame-width")), int(frame.header("x-frame-height")))
    assert _jpeg_size(frame) == size, f"picture {_jpeg_size(frame)}, headers {size}"
    assert size[0] <= task["width"], f"{size[0]} wide, {task['width']} wanted"
    assert re.fullmatch(r'"[^"]+"', frame.header("etag")), f"ETag {frame.header('etag')}"
    parts = frame.header("x-frame-ticket").split(".")
    assert len(parts) == 5 and parts[0] == "f1" and parts[1] == task["id"], "the ticket's form"
    assert int(parts[2]) == round(parse_time(captured).timestamp() * 1000), "the ticket's time"


def _rising(session: Session, task_id: str) -> None:
    last = session.frame(task=task_id).must(200)
    for _ in range(10):
        frame = session.frame(2000, task=task_id, after=_seq(last)).must(200)
        assert _seq(frame) > _seq(last), "the number did not rise"
        step = parse_time(frame.header("x-frame-captured-at")) - parse_time(last.header("x-frame-captured-at"))
        assert step >= timedelta(milliseconds=1), f"the time rose by {step}"
        last = frame


def _picks(session: Session, task_id: str) -> None:
    start = _seq(session.frame(task=task_id).must(200))
    newest = start
    while newest < start + 4:
        newest = _seq(session.frame(2000, task=task_id, after=newest).must(200))
    following, at = [], start
    while at < newest:
        frame = session.frame(2000, task=task_id, after=at, pick="next").must(200)
        at = _seq(frame)
        following.append(at)
    jump = session.frame(task=task_id, after=start).must(200)
    skipped = jump.header("x-frame-skipped")
    assert skipped.isdigit(), f"x-frame-skipped {skipped!r}"
    assert len(following) >= 2, "pick=next passed over pictures"
    assert int(skipped) >= len(following) - 1, f"{skipped} skipped, {len(following)} were there"


def _edits(session: Session, report: Report) -> None:
    with report.check("S4", "editing one task disturbs no other unit"):
        watched = session.create("watched", fps=10, width=320)
        try:
            other = session.create("edited", fps=2, width=320, stream_profile="main")
        finally:
            last = session.first_frame(watched["id"])
        seqs = [_seq(last)]
        edits: list[dict[str, Any]] = [
            {"fps": 1},
            {"width": 640},
            {"enabled": False},
            {"enabled": True},
            {"config": {"a": 1}},
        ]
        longest = 0.0
        for edit in edits:
            session.send("PATCH", f"/api/v1/ai-tasks/{other['id']}", edit).must(200)
            for _ in range(5):
                began = time.monotonic()
                seqs.append(_seq(session.frame(3000, task=watched["id"], after=seqs[-1]).must(200)))
                longest = max(longest, time.monotonic() - began)
        steps = [b - a for a, b in zip(seqs, seqs[1:])]
        # A unit that begins anew counts from the clock, which is far away from its old numbers.
        assert max(steps) < 500, f"the number jumped by {max(steps)}"
        assert longest < 1.5, f"no picture for {longest:.1f} s"
        session.drop(other["id"])
