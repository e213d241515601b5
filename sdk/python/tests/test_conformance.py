"""The conformance suite, in both directions, and that it finds what is wrong."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldar_worker import cli
from heldar_worker.conformance import Outcome, Report, server, server_frames, server_ingest, server_routes, worker
from heldar_worker.conformance.session import Session
from heldar_worker.kernel import Kernel, Reply, Request
from heldar_worker.kernel.play import play
from heldar_worker.kernel.routes import answer
from heldar_worker.kernel.sources import encode_jpeg

from .conftest import CAMERA, small_pictures

SOURCES = Path(__file__).parent.parent
GOOD = [sys.executable, str(SOURCES / "examples" / "brightness.py")]


def failed(report: Report) -> list[str]:
    return [c.line() for c in report.checks if c.outcome is Outcome.FAILED]


def test_the_example_worker_and_the_testing_kernel_keep_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCES / "src"))
    of_worker, of_server = Report(), Report()
    # Both wait most of the time, so they wait together.
    thread = threading.Thread(target=worker.run, args=(worker.Plan(GOOD), of_worker, True))
    thread.start()
    with Kernel({CAMERA: small_pictures}, keys={"a": "key_a", "b": "key_b"}) as kernel:
        server.run(server.Plan(kernel.url, CAMERA, "a", "b"), of_server)
        assert kernel.state.tasks == {}
        assert kernel.state.held == {}
    thread.join()
    assert failed(of_worker) == []
    assert failed(of_server) == []
    assert of_worker.good
    assert of_server.good
    assert {c.group for c in of_worker.checks} >= {"W1", "W2", "W3", "W4", "W5"}
    assert {c.group for c in of_server.checks} >= {"S1", "S2", "S3", "S4", "S5"}


def _spoil(kernel: Kernel, request: Request) -> Reply | None:
    """A server with one mistake in every part."""
    reply = answer(kernel, request)
    if request.path.endswith("/ai-tasks") and request.method == "POST" and reply.status == 201:
        reply.body["fps"] = 7
    if request.path.endswith("/frame"):
        reply.headers.pop("x-frame-skipped", None)
        reply.headers["x-frame-width"] = "1"
    if isinstance(reply.body, dict):
        reply.body.pop("index", None)
        reply.body.pop("duplicate", None)
    return reply


def test_a_wrong_server_is_found_out() -> None:
    report = Report()
    with Kernel({CAMERA: small_pictures}) as kernel:
        kernel.intercept = lambda request: _spoil(kernel, request)
        session = Session(kernel.url, CAMERA, None)
        for part in (server_routes.run, server_ingest.run, server_frames.frames):
            part(session, report)
        session.close()
    lines = "\n".join(failed(report))
    assert not report.good
    for name in ("fps 99 is clamped", "400 with index", "headers agree", "pick=next", "takes effect once"):
        assert name in lines


def test_a_wrong_worker_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(
        ["conformance", "--json", "--startup", "5", "--parallel", "--worker", f"{sys.executable} -c pass"]
    )
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status == 1
    assert not report["good"]
    assert report["failed"] == 4


def test_an_absent_server_fails_with_a_reason() -> None:
    report = Report()
    with Kernel() as kernel:
        url = kernel.url
    server.run(server.Plan(url, CAMERA), report)
    assert not report.good
    assert len(report.checks) == 1
    assert report.checks[0].detail


class FirstLine(io.StringIO):
    """Ends the program like Ctrl-C once something was printed."""

    def write(self, text: str) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_a_folder_is_played_to_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SOURCES / "src"))
    (tmp_path / "white.jpg").write_bytes(encode_jpeg(np.full((90, 160, 3), 255, dtype=np.uint8)))
    out = FirstLine()
    status = play(tmp_path, command=shlex.join(GOOD), task_type="brightness", fps=5, width=160, config={}, out=out)
    first = json.loads(out.getvalue().splitlines()[0])
    assert status == 0
    assert first["detections"][0]["label"] == "glare"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["conformance", "--server", "http://127.0.0.1:9"], 2),
        (["conformance", "--server", "http://127.0.0.1:9", "--camera", "c", "--api-key-env", "NOT_SET_HERE"], 1),
        (["play", "/no/such/video.avi"], 1),
        (["motion", "--api", "nonsense"], 1),
    ],
)
def test_wrong_calls_end_with_a_status_and_a_sentence(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == status
    assert capsys.readouterr().err.startswith("heldar-worker: ")
