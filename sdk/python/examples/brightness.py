"""Ten lines: a worker for tasks of type `brightness`."""

from heldar_worker import Detection, Worker

worker = Worker()


@worker.task("brightness")
def analyze(frame):  # type: ignore[no-untyped-def]
    share = float((frame.image > 250).mean())
    return [Detection("glare", confidence=share)] if share > 0.05 else []


if __name__ == "__main__":
    raise SystemExit(worker.main())
