"""AI workers for Heldar: frames in, detections out.

Owns: the names a worker program uses. Everything else in this package may change without notice.

    from heldar_worker import Detection, Worker

    worker = Worker()

    @worker.task("brightness")
    def analyze(frame):
        if frame.image.mean() > 200:
            yield Detection("bright")

    worker.run()
"""

from .detection import Detection, Event, Result
from .frame import BrokenFrameError, Frame, TaskError, WorkerTask
from .settings import Settings
from .worker import Worker

__version__ = "0.1.0"

__all__ = [
    "BrokenFrameError",
    "Detection",
    "Event",
    "Frame",
    "Result",
    "Settings",
    "TaskError",
    "Worker",
    "WorkerTask",
    "__version__",
]
