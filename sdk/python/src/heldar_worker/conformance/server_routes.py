"""S1: tasks, discovery, leases and frames: defaults, clamps, status codes."""

from __future__ import annotations

import re
from typing import Any

from ..frame import parse_time
from .report import Report
from .session import Answer, Session

_TASK: dict[str, Any] = {
    "id": str,
    "camera_id": str,
    "task_type": str,
    "enabled": bool,
    "stream_profile": str,
    "fps": (int, float),
    "width": int,
    "config": object,
    "created_at": str,
    "updated_at": str,
}


def run(session: Session, report: Report) -> None:
    """All of them."""
    _tasks(session, report)
    _leases(session, report)
    _discovery(session, report)
    _frames(session, report)


def error_form(answer: Answer, status: int, code: str = "") -> None:
    """The answer is an error of the contract's form."""
    answer.must(status)
    body = answer.json
    assert isinstance(body, dict) and isinstance(body.get("error"), str), f"error body {answer.response.body[:120]!r}"
    assert isinstance(body.get("code"), str), f"no code in {body}"
    assert not code or body["code"] == code, f"code {body['code']}, {code} expected"


def _tasks(session: Session, report: Report) -> None:
    path = f"{session.camera}/ai-tasks"
    with report.check("S1", "task: created with its fields and defaults"):
        task = session.create("defaults", fps=None, width=None)
        for name, kind in _TASK.items():
            assert isinstance(task[name], kind), f"{name} is {task[name]!r}"
        assert re.fullmatch(r"ai_[0-9a-f]{32}", task["id"]), task["id"]
        assert task["stream_profile"] == "sub", task["stream_profile"]
        assert task["enabled"] is True, "enabled is not true"
        assert task["config"] == {}, f"config is {task['config']!r}"
        assert 0.02 <= task["fps"] <= 30, f"fps {task['fps']}"
        assert 160 <= task["width"] <= 3840, f"width {task['width']}"
    with report.check("S1", "task: an occupied slot answers 200 with the existing task"):
        first = session.create("slot", config={"first": True})
        again = session.send("POST", path, {"task_type": first["task_type"], "config": {"second": True}}).must(200).json
        assert again["id"] == first["id"], "another task was made"
        assert again["config"] == {"first": True}, "the body was not ignored"
    for name, given, expected in (
        ("fps", 0.0001, 0.02),
        ("fps", 99, 30),
        ("width", 1, 160),
        ("width", 100000, 3840),
    ):
        with report.check("S1", f"task: {name} {given} is clamped to {expected}"):
            task = session.create(f"clamp_{name}_{given}".replace(".", "_"), **{name: given})
            assert task[name] == expected, f"{name} is {task[name]}"
            session.drop(task["id"])
    kind = f"{session.run}_bad"
    bad: list[tuple[str, dict[str, Any], int]] = [
        ("without task_type", {}, 422),
        ("with a blank task_type", {"task_type": "  "}, 400),
        ("with task_type of another type", {"task_type": 5}, 422),
        ("with an unknown profile", {"task_type": f"{kind}_profile", "stream_profile": "third"}, 400),
        ("with an unknown mode", {"task_type": f"{kind}_mode", "mode": "other"}, 400),
        ("with fps as text", {"task_type": f"{kind}_fps", "fps": "five"}, 422),
    ]
    for name, body, status in bad:
        with report.check("S1", f"task: {name}: {status}"):
            error_form(session.try_create(body), status)
    with report.check("S1", "task: malformed JSON: 400 invalid_json"):
        error_form(session.send("POST", path, raw=b"{"), 400, "invalid_json")
    with report.check("S1", "task: another content type: 415"):
        error_form(session.typed(path, b"{}", "text/plain"), 415, "unsupported_media_type")
    with report.check("S1", "task: of an unknown camera: 404"):
        error_form(
            session.send("POST", "/api/v1/cameras/no_such_camera/ai-tasks", {"task_type": kind}), 404, "not_found"
        )
    _changes(session, report, path)


def _changes(session: Session, report: Report, path: str) -> None:
    with report.check("S1", "task: PATCH changes what it names and keeps the rest"):
        task = session.create("patch", config={"a": 1, "b": 2})
        changed = session.send(
            "PATCH", f"/api/v1/ai-tasks/{task['id']}", {"fps": 2, "config": {"c": 3}, "width": None, "unknown": 1}
        )
        body = changed.must(200).json
        assert body["fps"] == 2, f"fps is {body['fps']}"
        assert body["width"] == task["width"], "width changed"
        assert body["config"] == {"c": 3}, "config was not replaced whole"
    with report.check("S1", "task: PATCH with a blank type: 400"):
        error_form(session.send("PATCH", f"/api/v1/ai-tasks/{task['id']}", {"task_type": " "}), 400)
    with report.check("S1", "task: PATCH onto an occupied slot: 409"):
        other = session.create("patch_other")
        error_form(session.send("PATCH", f"/api/v1/ai-tasks/{other['id']}", {"task_type": task["task_type"]}), 409)
    with report.check("S1", "task: PATCH and DELETE of a missing one: 404"):
        error_form(session.send("PATCH", "/api/v1/ai-tasks/ai_missing", {"fps": 1}), 404)
        error_form(session.send("DELETE", "/api/v1/ai-tasks/ai_missing"), 404)
    with report.check("S1", "task: listed, then deleted with 204"):
        ids = [t["id"] for t in session.send("GET", path).must(200).json]
        assert other["id"] in ids, "not listed"
        session.send("DELETE", f"/api/v1/ai-tasks/{other['id']}").must(204)
        ids = [t["id"] for t in session.send("GET", path).must(200).json]
        assert other["id"] not in ids, "still listed"


def _leases(session: Session, report: Report) -> None:
    path = "/api/v1/ai/leases"
    bad: list[tuple[str, dict[str, Any], int]] = [
        ("without worker_id", {}, 422),
        ("with a blank worker_id", {"worker_id": " "}, 400),
        ("with a worker_id of 257 characters", {"worker_id": "w" * 257}, 400),
    ]
    for name, body, status in bad:
        with report.check("S1", f"lease: {name}: {status}"):
            error_form(session.send("POST", path, body), status)
    nothing = [f"{session.run}_nothing"]
    for given, expected in ((1, 15), (100000, 300), (None, 60)):
        with report.check("S1", f"lease: ttl_secs {given} means {expected} s"):
            answer = session.send(
                "POST", path, {"worker_id": f"{session.run}_ttl", "task_types": nothing, "ttl_secs": given}
            ).must(200)
            ends = answer.json["expires_at"]
            assert ends.endswith("+00:00"), f"expires_at {ends}"
            # By the server's clock, as told with every answer.
            left = (parse_time(ends) - _server_time(answer)).total_seconds()
            assert abs(left - expected) < 3, f"{left:.0f} s"
    with report.check("S1", "lease: no tasks is no error, the id is stable, the form is right"):
        first, again = session.lease("stable", nothing), session.lease("stable", nothing)
        assert re.fullmatch(r"lse_[0-9a-f]{32}", first["lease_id"]), first["lease_id"]
        assert first["tasks"] == [], f"tasks {first['tasks']}"
        assert first["worker_id"] == f"{session.run}_stable", first["worker_id"]
        assert first["lease_id"] == again["lease_id"], "another id on renewal"
    with report.check("S1", "lease: release of an unknown one: 200, released 0"):
        answer = session.release("lse_" + "0" * 32).must(200)
        assert answer.json == {"released": 0}, str(answer.json)
    with report.check("S1", "lease: tasks carry all fields, and release tells their number"):
        task = session.create("leased", config={"k": "v"})
        lease = session.lease("leased", [task["task_type"]])
        (held,) = lease["tasks"]
        for name in ("id", "camera_id", "task_type", "stream_profile", "fps", "width", "config"):
            assert held[name] == task[name], f"{name} is {held[name]!r}"
        wanted = f"{session.camera}/frame?profile=sub&task={task['id']}"
        assert held["frame_url"] == wanted, held["frame_url"]
        released = session.release(lease["lease_id"]).must(200).json["released"]
        assert released == 1, f"released {released}"


def _server_time(answer: Answer) -> Any:
    from datetime import datetime, timezone
    from email.utils import parsedate_to_datetime

    date = answer.header("date")
    return parsedate_to_datetime(date) if date else datetime.now(timezone.utc)


def _discovery(session: Session, report: Report) -> None:
    with report.check("S1", "discovery: a bare array by id, enabled tasks only"):
        on, off = session.create("listed"), session.create("hidden", enabled=False)
        tasks = session.send("GET", "/api/v1/ai/tasks").must(200).json
        ids = [t["id"] for t in tasks]
        assert ids == sorted(ids), "not in the order of ids"
        assert on["id"] in ids, "an enabled task is missing"
        assert off["id"] not in ids, "a disabled task is there"
        session.drop(off["id"])
    with report.check("S1", "discovery: with a worker's name, less what others hold by lease"):
        held = session.create("held")
        lease = session.lease("holder", [held["task_type"]])
        ids = [t["id"] for t in session.send("GET", "/api/v1/ai/tasks", worker_id=f"{session.run}_d").must(200).json]
        assert held["id"] not in ids, "a leased task is given away"
        session.release(lease["lease_id"])


def _frames(session: Session, report: Report) -> None:
    path = f"{session.camera}/frame"
    with report.check("S1", "frame: an unknown profile: 400"):
        error_form(session.send("GET", path, profile="third"), 400)
    with report.check("S1", "frame: a mistyped number: 400 bad_query"):
        error_form(session.send("GET", path, profile="sub", after="abc"), 400, "bad_query")
    with report.check("S1", "frame: an unknown camera: 404 with a reason"):
        answer = session.send("GET", "/api/v1/cameras/no_such_camera/frame", profile="sub")
        error_form(answer, 404, "not_found")
        assert answer.json.get("reason"), "no reason"
    with report.check("S1", "frame: a camera id with ..: 400"):
        error_form(session.send("GET", "/api/v1/cameras/..x/frame", profile="sub"), 400)
