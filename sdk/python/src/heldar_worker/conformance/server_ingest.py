"""S1 and S5: what a post of results must be, what becomes of it, and what of its repetition."""

from __future__ import annotations

import secrets
from typing import Any

from .report import Report
from .server_routes import error_form
from .session import Session


def run(session: Session, report: Report) -> None:
    """All of them."""
    _bad_bodies(session, report)
    _bad_detections(session, report)
    _accepted(session, report)
    _duplicates(session, report)
    _tickets(session, report)


def _name() -> str:
    return f"conformance:{secrets.token_hex(8)}"


def _bad_bodies(session: Session, report: Report) -> None:
    absent: Any = ...
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("without camera_id", {"camera_id": absent}, 422),
        ("without task_type", {"task_type": absent}, 422),
        ("with a blank task_type", {"task_type": " "}, 400),
        ("of an unknown camera", {"camera_id": "no_such_camera"}, 404),
        ("with a time that is none", {"timestamp": "yesterday"}, 400),
        ("with part 64", {"part": 64}, 400),
        ("with 1001 detections", {"detections": [{}] * 1001}, 400),
        ("with a task_id of nothing", {"task_id": "ai_missing"}, 409),
        ("with an event of a reserved name", {"event": {"event_type": "zone_enter"}}, 400),
        ("with an event of a malformed name", {"event": {"event_type": "Not Allowed"}}, 400),
        ("with an event without type", {"event": {}}, 422),
        ("with a ticket that is none", {"frame_ticket": "f1.nonsense"}, 401),
    ]
    for name, fields, status in cases:
        with report.check("S1", f"ingest: {name}: {status}"):
            error_form(session.post(**fields), status)
    with report.check("S1", "ingest: malformed JSON: 400 invalid_json"):
        error_form(session.send("POST", "/api/v1/ai/events", raw=b"{"), 400, "invalid_json")


def _bad_detections(session: Session, report: Report) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("a box of three numbers", {"bbox": [0, 0, 1]}, "bbox"),
        ("a box of negative width", {"bbox": [0.5, 0.5, -0.1, 0.1]}, "bbox"),
        ("a box in pixels", {"bbox": [10, 20, 100, 200]}, "bbox"),
        ("a box past the right edge", {"bbox": [0.9, 0.0, 0.2, 0.1]}, "bbox"),
        ("a box above the top edge", {"bbox": [0.0, -0.02, 0.1, 0.1]}, "bbox"),
        ("a confidence of 1.2", {"confidence": 1.2}, "confidence"),
        ("a confidence of -0.1", {"confidence": -0.1}, "confidence"),
        ("a label of 257 characters", {"label": "x" * 257}, "label"),
        ("a track_id of 257 characters", {"track_id": "x" * 257}, "track_id"),
    ]
    good = {"label": "x", "confidence": 0.5, "bbox": [0.1, 0.1, 0.2, 0.2]}
    for name, detection, field in cases:
        with report.check("S1", f"ingest: {name}: 400 with index and field, nothing stored"):
            frame_id = _name()
            answer = session.post(frame_id=frame_id, detections=[good, detection, good])
            error_form(answer, 400, "validation")
            assert answer.json.get("index") == 1, f"index {answer.json.get('index')}"
            assert answer.json.get("field") == field, f"field {answer.json.get('field')}"
            assert answer.json["error"].startswith(f"detections[1].{field}: "), answer.json["error"]
            assert not session.stored(frame_id), "something was stored"
            # The refused frame is not remembered either.
            again = session.post(frame_id=frame_id, detections=[good]).must(200).json
            assert "duplicate" not in again, "the refused post counts as the first"


def _accepted(session: Session, report: Report) -> None:
    with report.check("S1", "ingest: stored whole, boxes clamped, forged source removed"):
        frame_id = _name()
        detection = {
            "label": "thing",
            "confidence": 0.25,
            "bbox": [-0.005, 0.5, 0.1, 0.505],
            "track_id": "t1",
            "attributes": {"k": 1, "source": "camera_native", "_prov": "forged"},
        }
        answer = session.post(frame_id=frame_id, detections=[detection], unknown_field=1).must(200).json
        assert answer["detections_ingested"] == 1, str(answer)
        assert answer["ticketed"] is False, str(answer)
        (row,) = session.stored(frame_id)
        assert (row["label"], row["confidence"], row["track_id"]) == ("thing", 0.25, "t1"), str(row)
        x, y, w, h = row["bbox"]
        assert min(x, y) >= 0 and x + w <= 1 + 1e-9 and y + h <= 1 + 1e-9, f"box {row['bbox']}"
        assert row["attributes"]["k"] == 1, str(row["attributes"])
        assert row["attributes"].get("source") == "worker", f"source {row['attributes'].get('source')}"
        assert row["attributes"].get("_prov") != "forged", "_prov was kept"
    with report.check("S1", "ingest: 1000 detections in one post"):
        answer = session.post(frame_id=_name(), detections=[{"label": "many"}] * 1000).must(200).json
        assert answer["detections_ingested"] == 1000, str(answer)
    with report.check("S1", "ingest: nothing seen is accepted"):
        assert session.post(frame_id=_name()).must(200).json["detections_ingested"] == 0


def _duplicates(session: Session, report: Report) -> None:
    seen = [{"label": "once"}]
    with report.check("S5", "the same frame twice takes effect once"):
        frame_id = _name()
        first = session.post(frame_id=frame_id, detections=seen).must(200).json
        second = session.post(frame_id=frame_id, detections=seen).must(200).json
        assert first["detections_ingested"] == 1, str(first)
        assert second["detections_ingested"] == 0, str(second)
        assert second["duplicate"] is True, str(second)
        assert len(session.stored(frame_id)) == 1, "stored twice"
    with report.check("S5", "another part of the same frame counts for itself"):
        part = session.post(frame_id=frame_id, detections=seen, part=1).must(200).json
        assert "duplicate" not in part, str(part)
        assert session.post(frame_id=frame_id, detections=seen, part=1).must(200).json["duplicate"] is True
    with report.check("S5", "without frame_id nothing is a duplicate"):
        for _ in range(2):
            answer = session.post(detections=seen, frame_id="").must(200).json
            assert "duplicate" not in answer, str(answer)
            assert answer["detections_ingested"] == 1, str(answer)
    with report.check("S5", "the event of a duplicate is stored once, also when it comes late"):
        frame_id, kind = _name(), f"{session.run}_event"
        session.post(frame_id=frame_id, detections=seen).must(200)
        for _ in range(2):
            again = session.post(frame_id=frame_id, detections=seen, event={"event_type": kind}).must(200).json
            assert again["duplicate"] is True, str(again)
        events = session.send("GET", "/api/v1/events", event_type=kind).must(200).json
        assert len(events) == 1, f"{len(events)} events"
        assert events[0]["severity"] == "info", events[0]["severity"]
    with report.check("S5", "another severity than info or warning becomes warning"):
        kind = f"{session.run}_severe"
        session.post(frame_id=_name(), event={"event_type": kind, "severity": "critical"}).must(200)
        (event,) = session.send("GET", "/api/v1/events", event_type=kind).must(200).json
        assert event["severity"] == "warning", event["severity"]


def _tickets(session: Session, report: Report) -> None:
    with report.check("S5", "a ticket decides camera, type, frame and time; repeated it is a duplicate"):
        task = session.create("ticket")
        lease = session.lease("ticket", [task["task_type"]])
        assert len(lease["tasks"]) == 1, "the task was not leased"
        frame = session.first_frame(task["id"])
        ticket = frame.header("x-frame-ticket")
        assert ticket, "no ticket"
        body = {"task_type": task["task_type"], "frame_ticket": ticket, "detections": [{"label": "t"}]}
        first = session.post(**body, frame_id="ignored", timestamp="2001-01-01T00:00:00Z").must(200).json
        assert first["ticketed"] is True, str(first)
        second = session.post(**body, frame_id="another").must(200).json
        assert second.get("duplicate") is True, str(second)
        captured_ms = ticket.split(".")[2]
        (row,) = session.stored(f"{task['id']}:{captured_ms}")
        assert not row["timestamp"].startswith("2001"), "the posted time was kept"
    with report.check("S5", "a ticket with another type: 409"):
        error_form(session.post(frame_ticket=ticket, task_type=f"{session.run}_other"), 409)
    with report.check("S5", "a forged ticket: 401 frame_ticket is invalid or expired"):
        forged = ticket[:-4] + ("AAAA" if not ticket.endswith("AAAA") else "BBBB")
        answer = session.post(frame_ticket=forged, task_type=task["task_type"])
        error_form(answer, 401)
        assert "frame_ticket is invalid or expired" in answer.json["error"], answer.json["error"]
    with report.check("S5", "a ticket after the release of its lease: 401 naming the lease"):
        session.release(lease["lease_id"]).must(200)
        answer = session.post(frame_ticket=ticket, task_type=task["task_type"])
        error_form(answer, 401)
        assert "lease" in answer.json["error"], answer.json["error"]
