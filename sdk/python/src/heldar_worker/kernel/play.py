"""`heldar-worker play`: a video file as a camera, results as lines.

Owns: one kernel, one camera, one task, and, if asked, one worker as a child process.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from .server import Kernel
from .sources import Source, open_source

CAMERA = "cam_play"


def play(
    video: Path,
    *,
    command: str | None,
    task_type: str,
    fps: float,
    width: int,
    config: Mapping[str, Any],
    port: int = 0,
    loop: bool = True,
    out: TextIO | None = None,
) -> int:
    """Serve until a signal, the end of the video (unless `loop`) or of the worker; the exit status.

    Each result is a line of JSON on `out`. Raises `SourceError` when the video cannot be read.
    """

    def pictures() -> Source:
        return open_source(video)

    stop = threading.Event()
    before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGTERM, signal.SIGINT)}
    worker: subprocess.Popen[bytes] | None = None
    try:
        with Kernel({CAMERA: pictures}, loop=loop, port=port) as kernel:
            kernel.add_task(task_type, CAMERA, fps=fps, width=width, config=dict(config))
            unit = kernel.unit(CAMERA)
            print(f"playing {video} as {CAMERA}; HELDAR_API={kernel.url}", file=sys.stderr)
            if command is not None:
                env = {k: v for k, v in os.environ.items() if k != "HELDAR_API_KEY"}
                worker = subprocess.Popen(
                    shlex.split(command), env={**env, "HELDAR_API": kernel.url}, start_new_session=True
                )
            shown = 0
            while not stop.is_set() and not (unit is not None and unit.ended.is_set()):
                # A signal does not wake this up, so it does not wait for long.
                kernel.wait_for(lambda _: stop.is_set(), 0.2)
                shown = _show(kernel, shown, out)
                if worker is not None and worker.poll() is not None:
                    print(f"the worker ended with status {worker.returncode}", file=sys.stderr)
                    return 1
            if worker is not None:
                worker.terminate()
                worker.wait(30)
                _show(kernel, shown, out)
            return 0
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
        if worker is not None and worker.poll() is None:
            worker.kill()
            worker.wait()


def _show(kernel: Kernel, shown: int, out: TextIO | None) -> int:
    with kernel.ingest.lock:
        accepted = kernel.ingest.accepted
        batches = list(kernel.ingest.batches)[-(accepted - shown) :] if accepted > shown else []
    for batch in batches if out is not None else ():
        row: dict[str, Any] = {"timestamp": batch.timestamp, "detections": [_plain(d) for d in batch.detections]}
        if batch.event is not None:
            row["event"] = batch.event
        print(json.dumps(row), file=out, flush=True)
    return accepted


def _plain(detection: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in detection.items() if v not in (None, {})}
