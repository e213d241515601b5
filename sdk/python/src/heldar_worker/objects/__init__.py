"""The ready-made object detector: task types `detection` and `yolo`.

Owns: the way from a task's config to a detector, a tracker and events. Models are read by `heads`, run by `detector`.
"""

from .handler import ObjectHandler, make_worker, usual_detector

__all__ = ["ObjectHandler", "make_worker", "usual_detector"]
