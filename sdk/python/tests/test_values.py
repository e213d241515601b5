"""Frames, tasks, detections, settings, pauses: values without a network."""

from __future__ import annotations

import json
import logging
import math
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from heldar_worker import BrokenFrameError, Detection, Event, Frame, Result, Settings, WorkerTask
from heldar_worker.api import Posted, judge_post, result_body
from heldar_worker.detection import as_result
from heldar_worker.frame import TaskError, decode_jpeg, parse_time
from heldar_worker.http import Response
from heldar_worker.kernel.sources import DrawnSource, encode_jpeg
from heldar_worker.log import _Form
from heldar_worker.metrics import Metrics
from heldar_worker.retry import Backoff
from heldar_worker.settings import SettingsError

RAW = {"id": "ai_1", "camera_id": "cam_1", "task_type": "t", "frame_url": "/api/v1/cameras/cam_1/frame?profile=sub"}


def frame(**more: Any) -> Frame:
    text = "2026-01-02T03:04:05.678+00:00"
    jpeg = encode_jpeg(np.zeros((90, 160, 3), dtype=np.uint8))
    return Frame(WorkerTask.parse(RAW), jpeg, text, parse_time(text), **more)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"fps": 5.0, "width": 1280, "stream_profile": "sub", "config": {}}),
        ({"fps": 0.001}, {"fps": 0.02}),
        ({"fps": "fast", "width": None, "config": [1]}, {"fps": 5.0, "width": 1280, "config": {}}),
        ({"fps": math.nan}, {"fps": 5.0}),
        ({"fps": True, "config": {"a": 1}, "surprise": 1}, {"fps": 5.0, "config": {"a": 1}}),
    ],
)
def test_a_task_has_defaults_for_what_is_absent_or_odd(change: dict[str, Any], expected: dict[str, Any]) -> None:
    task = WorkerTask.parse({**RAW, **change})
    assert {name: getattr(task, name) for name in expected} == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://elsewhere/frame",
        "//elsewhere/frame",
        "/api/../../secret",
        "/frame?next=http://elsewhere",
        "frame",
        "",
        "/fra me",
        "/frame\r\nX-Other: 1",
        None,
        5,
    ],
)
def test_frame_urls_that_lead_elsewhere_are_refused(url: object) -> None:
    with pytest.raises(TaskError, match="frame_url"):
        WorkerTask.parse({**RAW, "frame_url": url})


@pytest.mark.parametrize("raw", [None, [], "task", {}, {**RAW, "id": 5}, {**RAW, "camera_id": ""}])
def test_what_is_no_task_is_refused(raw: object) -> None:
    with pytest.raises(TaskError):
        WorkerTask.parse(raw)


def test_pictures_are_decoded_once_and_on_demand() -> None:
    picture = frame()
    assert (picture.width, picture.height) == (160, 90)
    assert picture.image.shape == (90, 160, 3)
    assert picture.image is picture.image
    told = frame(width=320, height=180)
    assert (told.width, told.height) == (320, 180)
    assert told._image is None


@pytest.mark.parametrize("data", [b"", b"no picture", encode_jpeg(np.zeros((90, 160, 3), dtype=np.uint8))[:300]])
def test_broken_pictures_have_one_error(data: bytes) -> None:
    with pytest.raises(BrokenFrameError):
        decode_jpeg(data)


def test_the_drawn_number_survives_coding_and_scaling() -> None:
    source = DrawnSource(640, 360)
    for number in range(20):
        jpeg = source.read()
        assert jpeg is not None
        picture = decode_jpeg(jpeg)
        assert DrawnSource.read_code(picture) == number
        assert DrawnSource.read_code(picture[::2, ::2]) == number


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-02T03:04:05Z", 0),
        ("2026-01-02T03:04:05.6+00:00", 600_000),
        ("2026-01-02T05:04:05.678901+02:00", 678_901),
        (" 2026-01-02T03:04:05.6789012Z ", 678_901),
    ],
)
def test_times_of_any_offset_and_precision(text: str, micros: int) -> None:
    assert parse_time(text) == datetime(2026, 1, 2, 3, 4, 5, micros, timezone.utc)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"])
def test_other_times_are_errors(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text will do
        parse_time(text)


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ((0.1, 0.2, 0.3, 0.4), (0.1, 0.2, 0.3, 0.4)),
        ((-0.005, 0.0, 0.5, 1.005), (0.0, 0.0, 0.495, 1.0)),
        (np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32), (0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_boxes_end_up_within_the_picture(bbox: Any, expected: tuple[float, ...]) -> None:
    assert Detection("x", 0.5, bbox).bbox == pytest.approx(expected)


@pytest.mark.parametrize(
    "fields",
    [
        {"bbox": (10, 20, 30, 40)},
        {"bbox": (0, 0, 1)},
        {"bbox": (0, 0, -0.1, 1)},
        {"bbox": (0, 0, math.nan, 1)},
        {"confidence": 1.2},
        {"confidence": -0.2},
        {"label": "x" * 257},
    ],
)
def test_a_wrong_detection_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=":"):
        Detection(**fields)


def test_boxes_in_pixels_are_converted_and_cut() -> None:
    whole = Detection.from_pixels((16, 9, 32, 18), frame(), "x", 0.9)
    assert whole.bbox == pytest.approx((0.1, 0.1, 0.2, 0.2))
    cut = Detection.from_pixels((-50, 45, 80, 200), frame(), corners=True, track_id=7)
    assert cut.bbox == pytest.approx((0.0, 0.5, 0.5, 0.5))
    assert cut.track_id == "7"


@pytest.mark.parametrize(
    ("outcome", "count"),
    [
        (None, 0),
        ([], 0),
        (iter([Detection("a")]), 1),
        (Result([Detection("a")], Event("e")), 1),
        ((Detection("a"),), 1),
    ],
)
def test_handlers_may_give_back_several_forms(outcome: Any, count: int) -> None:
    assert len(as_result(outcome).detections) == count


@pytest.mark.parametrize("outcome", ["text", 5, [1], {"label": "x"}, [{"label": "x"}]])
def test_other_results_are_told_apart(outcome: Any) -> None:
    with pytest.raises(TypeError, match="handler gives back"):
        as_result(outcome)


def test_a_result_carries_ticket_time_and_key_of_its_frame() -> None:
    values = {"count": np.int64(3), "score": np.float32(0.5), "vector": np.array([1, 2])}
    result = Result(
        [Detection("x", float(np.float32(0.5)), (0, 0, 1, 1), 4, values)], Event("seen", "info", {"n": np.int32(1)})
    )
    body = json.loads(result_body(frame(ticket="f1.t"), result))
    assert body["timestamp"] == "2026-01-02T03:04:05.678+00:00"
    assert body["frame_id"] == "ai_1:2026-01-02T03:04:05.678+00:00"
    assert body["frame_ticket"] == "f1.t"
    assert body["detections"][0]["attributes"] == {"count": 3, "score": 0.5, "vector": [1, 2]}
    assert body["event"] == {"event_type": "seen", "severity": "info", "payload": {"n": 1}}
    assert "frame_ticket" not in json.loads(result_body(frame(), Result()))


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (200, "{}", Posted.STORED),
        (302, "", Posted.REFUSED),
        (500, "", Posted.AGAIN),
        (503, "", Posted.AGAIN),
        (409, "", Posted.LEASE_LOST),
        (401, "frame_ticket is malformed", Posted.LEASE_LOST),
        (401, "no live lease", Posted.LEASE_LOST),
        (401, "invalid or expired credentials", Posted.REFUSED),
        (400, "frame_ticket", Posted.REFUSED),
        (403, "lease", Posted.REFUSED),
        (404, "", Posted.REFUSED),
    ],
)
def test_what_becomes_of_a_post(status: int, text: str, expected: Posted) -> None:
    assert judge_post(Response(status, {}, json.dumps({"error": text}).encode())) is expected


def test_pauses_grow_to_the_cap_and_spread_by_a_quarter() -> None:
    backoff = Backoff(0.5, 15.0)
    assert [backoff.delay(n, 0.0) for n in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert backoff.delay(2, 1.0) == pytest.approx(1.25)
    assert backoff.delay(10_000, 1.0) == pytest.approx(18.75)
    assert backoff.delay(1, 0.0, retry_after=3) == 3
    assert backoff.delay(1, 0.0, retry_after=3600) == 15


def test_settings_have_the_contracts_defaults() -> None:
    settings = Settings.from_env({})
    assert (settings.api, settings.api_key) == ("http://localhost:8000", None)
    assert (settings.poll_interval, settings.ttl_secs) == (10, 60)
    assert (settings.http_timeout, settings.max_retries) == (10, 5)
    assert (settings.backoff_base, settings.backoff_cap) == (0.5, 15)
    assert settings.worker_id.count(":") >= 1


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("HELDAR_API", "https://nvr.example/heldar/", "api", "https://nvr.example/heldar"),
        ("HELDAR_AI_POLL_INTERVAL", "0.1", "poll_interval", 1.0),
        ("HELDAR_AI_POLL_INTERVAL", "120", "ttl_secs", 300),
        ("HELDAR_AI_LEASE_TTL", "1", "ttl_secs", 30),
        ("HELDAR_HTTP_MAX_RETRIES", "-3", "max_retries", 0),
        ("HELDAR_HTTP_BACKOFF_BASE", "0", "backoff_base", 0.001),
        ("HELDAR_LOG_FORMAT", "JSON", "log_format", "json"),
        ("HELDAR_AI_WORKER_ID", "  ", "worker_id", Settings().worker_id),
        ("HELDAR_WORKER_METRICS_PORT", "9100", "metrics", "127.0.0.1:9100"),
        ("HELDAR_WORKER_METRICS_PORT", "0.0.0.0:9100", "metrics", "0.0.0.0:9100"),
    ],
)
def test_settings_move_to_their_bounds(variable: str, value: str, field: str, expected: object) -> None:
    assert getattr(Settings.from_env({variable: value}), field) == expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HELDAR_API", "localhost:8000"),
        ("HELDAR_API", "http://user:secret@host"),
        ("HELDAR_AI_POLL_INTERVAL", "often"),
        ("HELDAR_AI_POLL_INTERVAL", "nan"),
        ("HELDAR_HTTP_MAX_RETRIES", "1.5"),
        ("HELDAR_LOG_LEVEL", "loud"),
        ("HELDAR_WORKER_METRICS_PORT", "70000"),
    ],
)
def test_settings_that_cannot_be_read_name_their_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        Settings.from_env({variable: value})


def test_the_key_stands_in_no_text() -> None:
    settings = Settings.from_env({"HELDAR_API_KEY": "vok_secret"})
    assert "vok_secret" not in repr(settings)
    record = logging.LogRecord("x", logging.INFO, "f", 1, "with %s inside", ("vok_secret",), None)
    for as_json in (False, True):
        line = _Form(as_json, settings.api_key).format(record)
        assert "vok_secret" not in line
        assert "with *** inside" in line


def test_metrics_are_bounded_and_readable() -> None:
    metrics = Metrics()
    for number in range(10_000):
        metrics.count('a"b', "frames")
        metrics.inference('a"b', number / 1e6)
    assert len(metrics._inference_ms) < 5_000
    assert 'heldar_worker_frames_total{task_type="a\\"b"} 10000' in metrics.exposition()
    assert "frames=10000" in metrics.summary()
    assert "frames=0" in metrics.summary()
