"""What a worker counts, and how it is shown.

Owns: counters per task type, the inference times of the last minute, the page `/metrics`, the summary line.
Invariant: memory is bounded by the number of task types, never by time or by frames.
"""

from __future__ import annotations

import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Counters of each task type and what they count.
COUNTERS = {
    "frames": "frames analysed",
    "skipped_stale": "frames too old to analyse",
    "skipped_unchanged": "frames that had been seen before",
    "skipped_by_server": "pictures passed over because the worker was busy",
    "broken": "pictures that could not be decoded",
    "pulls_empty": "pulls without a frame",
    "pull_errors": "failed pulls",
    "handler_errors": "exceptions of handlers",
    "posts": "results stored",
    "post_retries": "repeated posts",
    "post_errors": "results lost after all repetitions or refused",
    "lease_lost": "results dropped because the lease or ticket no longer held",
    "detections": "detections posted",
}
_SAMPLES = 4096


class Metrics:
    """Counters; safe for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, int]] = {}
        self._inference_ms: deque[float] = deque(maxlen=_SAMPLES)
        self._inference_sum: dict[str, float] = {}
        self._before: dict[str, int] = {}
        self.tasks = 0

    def count(self, task_type: str, name: str, by: int = 1) -> None:
        """Add to a counter of `COUNTERS`."""
        with self._lock:
            counts = self._counts.setdefault(task_type, dict.fromkeys(COUNTERS, 0))
            counts[name] += by

    def inference(self, task_type: str, seconds: float) -> None:
        """Note how long a handler took for one frame."""
        with self._lock:
            self._inference_ms.append(seconds * 1000.0)
            self._inference_sum[task_type] = self._inference_sum.get(task_type, 0.0) + seconds

    def totals(self) -> dict[str, int]:
        """All counters, summed over task types."""
        with self._lock:
            return {n: sum(c[n] for c in self._counts.values()) for n in COUNTERS}

    def summary(self) -> str:
        """One line about the time since the last call."""
        totals = self.totals()
        with self._lock:
            times = sorted(self._inference_ms)
            self._inference_ms.clear()
        new = {n: v - self._before.get(n, 0) for n, v in totals.items()}
        self._before = totals
        skipped = new["skipped_stale"] + new["skipped_unchanged"] + new["skipped_by_server"]
        errors = sum(new[n] for n in ("broken", "pull_errors", "handler_errors", "post_errors", "lease_lost"))
        return (
            f"tasks={self.tasks} frames={new['frames']} skipped={skipped} "
            f"inference_ms_p50={_quantile(times, 0.5)} inference_ms_p95={_quantile(times, 0.95)} "
            f"posts={new['posts']} detections={new['detections']} "
            f"retries={new['post_retries']} errors={errors}"
        )

    def exposition(self) -> str:
        """The page in the Prometheus text format."""
        lines = ["# TYPE heldar_worker_tasks gauge", f"heldar_worker_tasks {self.tasks}"]
        with self._lock:
            for name, text in COUNTERS.items():
                metric = f"heldar_worker_{name}_total"
                lines += [f"# HELP {metric} {text}", f"# TYPE {metric} counter"]
                lines += [f"{metric}{_label(t)} {c[name]}" for t, c in sorted(self._counts.items())]
            metric = "heldar_worker_inference_seconds_total"
            lines += [f"# HELP {metric} time spent in handlers", f"# TYPE {metric} counter"]
            lines += [f"{metric}{_label(t)} {s:.6f}" for t, s in sorted(self._inference_sum.items())]
        return "\n".join(lines) + "\n"


def _label(task_type: str) -> str:
    escaped = task_type.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '{task_type="' + escaped + '"}'


def _quantile(ordered: list[float], share: float) -> str:
    if not ordered:
        return "-"
    return f"{ordered[min(int(share * len(ordered)), len(ordered) - 1)]:.1f}"


class MetricsServer:
    """Serves `/metrics` on `address` (`host:port`) until closed. Raises `OSError` when the port is taken."""

    def __init__(self, metrics: Metrics, address: str) -> None:
        host, _, port = address.rpartition(":")

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                found = self.path.split("?")[0] == "/metrics"
                body = metrics.exposition().encode() if found else b"not found\n"
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server: ThreadingHTTPServer | None = ThreadingHTTPServer((host, int(port)), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
