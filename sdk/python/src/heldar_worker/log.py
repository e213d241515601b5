"""Log lines as text or JSON.

Owns: the form of the lines, and that the key never stands in one, whoever wrote the line.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from datetime import datetime, timezone

from .settings import Settings

logger = logging.getLogger("heldar_worker")


class _Form(logging.Formatter):
    def __init__(self, as_json: bool, secret: str | None) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self.converter = time.gmtime
        self.default_msec_format = "%s.%03dZ"
        self.default_time_format = "%Y-%m-%dT%H:%M:%S"
        self._json = as_json
        self._secret = secret

    def format(self, record: logging.LogRecord) -> str:
        if not self._json:
            return self._clean(super().format(record))
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._clean(json.dumps(line, ensure_ascii=False, default=str))

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "***") if self._secret else text


def configure(settings: Settings) -> None:
    """Send log lines to stderr, unless the program set up logging itself."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Form(settings.log_format == "json", settings.api_key))
    root.addHandler(handler)
    root.setLevel(settings.log_level)


class Throttle:
    """Lets one line per key through in each interval, so that a lasting trouble does not fill a disk."""

    def __init__(self, seconds: float = 30.0) -> None:
        self._seconds = seconds
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def passes(self, key: str) -> bool:
        """Whether a line about `key` is due."""
        now = time.monotonic()
        with self._lock:
            last = self._last.get(key)
            if last is not None and now - last < self._seconds:
                return False
            if len(self._last) > 1000:
                self._last.clear()
            self._last[key] = now
            return True
