"""What a handler is given: one sampled picture of one task.

Owns: the task as the server describes it, and the picture with its capture time. Decoding happens on first use of
`image`, so a handler that only forwards bytes pays nothing. Never: a network call.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

# What a worker assumes where the server says nothing (contract, worker's life).
DEFAULT_FPS = 5.0
DEFAULT_WIDTH = 1280
MIN_FPS, MAX_FPS = 0.02, 30.0


class BrokenFrameError(ValueError):
    """The picture cannot be decoded. Raised by `Frame.image`; the worker then skips the frame."""


class TaskError(ValueError):
    """This worker must not or cannot serve a task; the text says why.

    A handler's constructor may raise it: one line is logged instead of a trace.
    """


@dataclass(frozen=True)
class WorkerTask:
    """One task: which camera, which kind of analysis, at which rate, with which settings."""

    id: str
    camera_id: str
    task_type: str
    frame_url: str
    stream_profile: str = "sub"
    #: Frames a second that were asked for, 0.02..30.
    fps: float = DEFAULT_FPS
    #: Picture width in pixels that was asked for.
    width: int = DEFAULT_WIDTH
    #: The task's own settings, as its author wrote them.
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: object) -> WorkerTask:
        """Read a task object of the server.

        Raises `TaskError` when a required field is missing or when `frame_url` could lead to another host or
        out of the API: it is a path starting with `/`, without `://` and `..`.
        """
        if not isinstance(raw, dict):
            raise TaskError("is no object")
        texts: dict[str, str] = {}
        for name in ("id", "camera_id", "task_type", "frame_url"):
            value = raw.get(name)
            if not isinstance(value, str) or not value:
                raise TaskError(f"has no {name}")
            texts[name] = value
        url = texts["frame_url"]
        if not url.startswith("/") or url.startswith("//") or "://" in url or ".." in url:
            raise TaskError("frame_url is refused: it must be a path of the same server")
        if any(not 0x20 < ord(c) < 0x7F for c in url):
            raise TaskError("frame_url is refused: it holds characters that no URL has")
        config = raw.get("config")
        profile = raw.get("stream_profile")
        return cls(
            **texts,
            stream_profile=profile if isinstance(profile, str) and profile else "sub",
            fps=min(max(_positive(raw.get("fps"), DEFAULT_FPS), MIN_FPS), MAX_FPS),
            width=int(_positive(raw.get("width"), DEFAULT_WIDTH)),
            config=config if isinstance(config, dict) else {},
        )

    @property
    def period(self) -> float:
        """Seconds between two frames."""
        return 1.0 / self.fps


def _positive(value: object, default: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return default
    return float(value) if 0 < value < 1e6 else default


class Frame:
    """One sampled picture and where it comes from."""

    def __init__(
        self,
        task: WorkerTask,
        jpeg: bytes,
        captured_at_text: str,
        captured_at: datetime,
        *,
        age_ms: int | None = None,
        seq: int | None = None,
        ticket: str | None = None,
        skipped: int = 0,
        width: int | None = None,
        height: int | None = None,
    ) -> None:
        self.task = task
        #: The picture as sent.
        self.jpeg = jpeg
        #: Capture time exactly as the server wrote it; results carry it back unchanged.
        self.captured_at_text = captured_at_text
        #: Capture time, UTC.
        self.captured_at = captured_at
        #: Number of the picture, rising by one per picture of this stream; absent on old servers.
        self.seq = seq
        #: Pictures of this task since the frame before that were not sent.
        self.skipped = skipped
        #: Proof of where the picture came from, echoed with its results.
        self.ticket = ticket
        self._age_ms = age_ms
        self._received = time.monotonic()
        self._size = (width, height) if width and height else None
        self._image: Image | None = None

    @property
    def camera_id(self) -> str:
        """The camera that took the picture."""
        return self.task.camera_id

    @property
    def age_ms(self) -> int:
        """Milliseconds since capture, now; counted from receipt where the server does not say."""
        return (self._age_ms or 0) + int((time.monotonic() - self._received) * 1000)

    @property
    def image(self) -> Image:
        """The picture, height x width x 3, RGB, 8 bit. Raises `BrokenFrameError`."""
        if self._image is None:
            self._image = decode_jpeg(self.jpeg)
        return self._image

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self._dimensions()[0]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self._dimensions()[1]

    def _dimensions(self) -> tuple[int, int]:
        if self._size is None:
            height, width = self.image.shape[:2]
            self._size = (int(width), int(height))
        return self._size

    def __repr__(self) -> str:
        return f"<Frame {self.task.id} seq={self.seq} {self.captured_at_text}>"


def decode_jpeg(data: bytes) -> Image:
    """Decode to height x width x 3 RGB. Raises `BrokenFrameError` for anything that is no whole picture."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            return np.asarray(picture.convert("RGB"), dtype=np.uint8)
    # Pillow reports broken data through many types, SyntaxError and struct.error among them.
    except Exception as cause:
        raise BrokenFrameError(f"picture cannot be decoded: {cause}") from cause


def parse_time(text: str) -> datetime:
    """Read RFC 3339 with any offset; the result is in UTC. Raises `ValueError`."""
    value = text.strip()
    if value[-1:] in ("Z", "z"):
        value = value[:-1] + "+00:00"
    # Python before 3.11 reads three or six decimals only.
    if "." in value:
        head, tail = value.split(".", 1)
        digits = len(tail) - len(tail.lstrip("0123456789"))
        value = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"no offset in {text!r}")
    return moment.astimezone(timezone.utc)
