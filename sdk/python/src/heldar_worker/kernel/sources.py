"""Where the testing kernel's pictures come from: a video file, a folder of JPEGs, or a drawn scene.

Owns: decoding, by ffmpeg or OpenCV, whichever is there. A source gives JPEGs in order at its own rate. Not
thread-safe.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_END = b"\xff\xd9"


class SourceError(Exception):
    """The pictures cannot be read; the text says what is missing."""


class Source(Protocol):
    """Pictures in order."""

    #: Pictures a second at natural speed.
    fps: float

    def read(self) -> bytes | None:
        """The next JPEG; None at the end."""

    def close(self) -> None:
        """Stop reading."""


def open_source(path: Path) -> Source:
    """Pictures of a video file, or of a folder of JPEGs (5 a second). Raises `SourceError`."""
    if path.is_dir():
        return FolderSource(path)
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    if shutil.which("ffmpeg") and shutil.which("ffprobe"):
        return FfmpegSource(path)
    try:
        return OpenCvSource(path)
    except ImportError:
        raise SourceError(
            "videos need ffmpeg, or OpenCV (pip install 'heldar-worker[hog]'); a folder of JPEGs needs neither"
        ) from None


class FolderSource:
    """The JPEGs of a folder, by name."""

    fps = 5.0

    def __init__(self, path: Path) -> None:
        self._files = sorted(p for p in path.iterdir() if p.suffix.lower() in (".jpg", ".jpeg"))
        if not self._files:
            raise SourceError(f"{path}: no .jpg files")
        self._next = 0

    def read(self) -> bytes | None:
        """The next picture."""
        if self._next >= len(self._files):
            return None
        self._next += 1
        return self._files[self._next - 1].read_bytes()

    def close(self) -> None:
        """Nothing is open."""


class FfmpegSource:
    """A video decoded by ffmpeg into a stream of JPEGs."""

    def __init__(self, path: Path) -> None:
        self.fps = _rate(path)
        coding = ["-an", "-f", "image2pipe", "-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p"]
        self._process = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), *coding, "-"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._pictures = self._split()

    def _split(self) -> Iterator[bytes]:
        pipe = self._process.stdout
        kept = b""
        while pipe is not None:
            # Inside coded data 0xFF is always followed by zero or a restart mark, so this ends a picture.
            end = kept.find(_END)
            if end >= 0:
                yield kept[: end + 2]
                kept = kept[end + 2 :]
                continue
            more = pipe.read(1 << 16)
            if not more:
                return
            kept += more

    def read(self) -> bytes | None:
        """The next picture."""
        return next(self._pictures, None)

    def close(self) -> None:
        """End ffmpeg."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _rate(path: Path) -> float:
    wanted = ["-show_entries", "stream=avg_frame_rate", "-of", "csv=p=0"]
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", *wanted]
    told = subprocess.run([*probe, str(path)], capture_output=True, text=True, check=False)
    try:
        above, _, below = told.stdout.strip().splitlines()[0].partition("/")
        return min(max(float(above) / float(below or 1), 0.1), 240.0)
    except (IndexError, ValueError, ZeroDivisionError):
        raise SourceError(f"{path}: ffprobe finds no video in it") from None


class OpenCvSource:
    """A video decoded by OpenCV."""

    def __init__(self, path: Path) -> None:
        import cv2

        self._cv2: Any = cv2
        self._video = cv2.VideoCapture(str(path))
        if not self._video.isOpened():
            raise SourceError(f"{path}: OpenCV cannot read it")
        self.fps = min(max(float(self._video.get(cv2.CAP_PROP_FPS)) or 25.0, 0.1), 240.0)

    def read(self) -> bytes | None:
        """The next picture."""
        there, picture = self._video.read()
        if not there:
            return None
        done, data = self._cv2.imencode(".jpg", picture, [self._cv2.IMWRITE_JPEG_QUALITY, 90])
        return bytes(data) if done else None

    def close(self) -> None:
        """Release the file."""
        self._video.release()


class DrawnSource:
    """A grey scene with a bright square that moves, and the picture's number as black and white blocks.

    `read_code` gets the number back from a decoded picture, so that a test can tell which picture it was given.
    """

    BITS = 24

    def __init__(self, width: int = 640, height: int = 360, fps: float = 30.0) -> None:
        self.fps = fps
        self._size = (width, height)
        self._number = 0
        # Endless, but only this many are ever coded; drawing must not cost what the test wants to measure.
        self._coded: list[bytes] = []

    _PERIOD = 256

    def read(self) -> bytes | None:
        """The next picture; there is always one."""
        index = self._number % self._PERIOD
        if index >= len(self._coded):
            self._coded.append(self._draw(index))
        self._number += 1
        return self._coded[index]

    def _draw(self, number: int) -> bytes:
        width, height = self._size
        picture = np.full((height, width, 3), 96, dtype=np.uint8)
        side = height // 4
        left = (number * 8) % (width - side)
        picture[height // 2 : height // 2 + side, left : left + side] = 230
        block = width // self.BITS
        for bit in range(self.BITS):
            picture[: height // 8, bit * block : (bit + 1) * block] = 255 if number >> bit & 1 else 0
        return encode_jpeg(picture)

    @classmethod
    def read_code(cls, picture: np.ndarray[Any, Any]) -> int:
        """The number drawn into a picture of any size."""
        height, width = picture.shape[:2]
        block = width // cls.BITS if width % cls.BITS == 0 else width / cls.BITS
        row = height // 16
        return sum((int(picture[row, int((bit + 0.5) * block), 1]) > 127) << bit for bit in range(cls.BITS))

    def close(self) -> None:
        """Nothing is open."""


def encode_jpeg(picture: np.ndarray[Any, Any], quality: int = 85) -> bytes:
    """A JPEG of a height x width x 3 RGB picture."""
    from PIL import Image as Pictures

    out = io.BytesIO()
    Pictures.fromarray(picture).save(out, "JPEG", quality=quality)
    return out.getvalue()


def resized(jpeg: bytes, width: int | None, quality: int = 85) -> tuple[bytes, int, int]:
    """The picture at most `width` wide, aspect kept, even height, and its size. Broken pictures pass with size 0."""
    from PIL import Image as Pictures

    try:
        with Pictures.open(io.BytesIO(jpeg), formats=("JPEG",)) as picture:
            if width is None or width >= picture.width:
                return jpeg, picture.width, picture.height
            height = max(round(picture.height * width / picture.width / 2) * 2, 2)
            small = picture.convert("RGB").resize((width, height), Pictures.Resampling.BILINEAR)
    except Exception:
        # Sent as they are: how a worker takes them is what a test wants to see.
        return jpeg, 0, 0
    out = io.BytesIO()
    small.save(out, "JPEG", quality=quality)
    return out.getvalue(), width, height
