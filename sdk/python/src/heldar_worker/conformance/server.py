"""Does a server keep the contract? The parts of S1 to S5 that can be seen over HTTP.

Owns: the order of the checks and the list of what cannot be checked from outside. The checks themselves are
in `server_routes` (S1), `server_ingest` (S1, S5) and `server_frames` (S2 to S4).
"""

from __future__ import annotations

from dataclasses import dataclass

from . import server_frames, server_ingest, server_routes
from .report import Report
from .session import Session

_OUT_OF_REACH = (
    ("S3", "no fresh frame after the source stopped: 404 stale", "needs a camera that can be stopped"),
    ("S3", "the code burnt into the picture agrees with its number", "needs the project's own test camera"),
    ("S4", "losing the store keeps the plan", "needs the server's database to be taken away"),
    ("S5", "kill -9 between any two steps", "needs the server's process"),
    ("S6", "consumers that are slow, fail or panic", "needs code inside the server"),
    ("S7", "zones", "not about workers; checked by the server's own tests"),
    ("S8", "no seq lost or repeated", "not about workers; checked by the server's own tests"),
    ("S9", "webhooks", "not about workers; checked by the server's own tests"),
)


@dataclass(frozen=True)
class Plan:
    """Which server, which camera, which keys."""

    url: str
    camera_id: str
    key: str | None = None
    second_key: str | None = None


def run(plan: Plan, report: Report) -> None:
    """All checks; whatever they create is removed again."""
    session = Session(plan.url, plan.camera_id, plan.key)
    second = Session(plan.url, plan.camera_id, plan.second_key) if plan.second_key else None
    try:
        answer = None
        with report.check("S1", "the server answers and knows the camera"):
            answer = session.send("GET", f"{session.camera}/ai-tasks").must(200)
            assert isinstance(answer.json, list), "the list of tasks is no array"
        if answer is None:
            return
        server_routes.run(session, report)
        server_ingest.run(session, report)
        server_frames.run(session, second, report)
        for group, name, why in _OUT_OF_REACH:
            report.skip(group, name, why)
    finally:
        session.close()
        if second is not None:
            second.close()
