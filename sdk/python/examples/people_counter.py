"""A class with state per task: finds people with OpenCV, follows them, and tells when somebody new comes.

Needs `pip install 'heldar-worker[hog]'`. Try it with `heldar-worker play VIDEO --worker "python people_counter.py"`.
"""

from __future__ import annotations

from typing import Any

from heldar_worker import Detection, Event, Frame, Result, Worker, WorkerTask
from heldar_worker.tracking import Tracker, TrackerOptions

worker = Worker()


@worker.task("detection")
class PeopleCounter:
    """One of these is made for each task, so each camera has a tracker of its own."""

    def __init__(self, task: WorkerTask) -> None:
        import cv2

        self.cv2: Any = cv2
        self.finder = self.cv2.HOGDescriptor()
        self.finder.setSVMDetector(self.cv2.HOGDescriptor_getDefaultPeopleDetector())
        # Settings come from the task, as its author wrote them.
        high = float(task.config.get("threshold", 0.5))
        self.tracker = Tracker(TrackerOptions(high=high, new=high))
        self.known: set[str] = set()

    def analyze(self, frame: Frame) -> Result:
        """Called with each frame, one at a time."""
        boxes, weights = self.finder.detectMultiScale(frame.image)
        found = [
            Detection.from_pixels([float(v) for v in box], frame, "person", min(float(weight), 1.0))
            for box, weight in zip(boxes, weights)
        ]
        people = self.tracker.update(found, frame.captured_at)
        new = [str(p.track_id) for p in people if p.track_id is not None and p.track_id not in self.known]
        # Only those in sight are remembered: an id is never used again.
        self.known = {str(p.track_id) for p in people if p.track_id is not None} | set(new)
        event = Event("person_arrived", "warning", {"people": len(people), "new": new}) if new else None
        return Result(people, event)


if __name__ == "__main__":
    raise SystemExit(worker.main())
