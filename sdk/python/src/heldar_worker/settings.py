"""What a worker can be told from outside: `HELDAR_*` variables, or flags of the same names.

Owns: names, defaults and bounds (contract, worker variables). A value that cannot be read is an error at
start; a value out of bounds moves to the bound. Never: the key in any text this module makes.
"""

from __future__ import annotations

import argparse
import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Callable
from urllib.parse import urlsplit


class SettingsError(ValueError):
    """A setting cannot be used; the text names the variable."""


def _number(low: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError("not a number")
        return max(value, low)

    return read


def _whole(low: int) -> Callable[[str], int]:
    return lambda text: max(int(text), low)


def _url(text: str) -> str:
    url = text.strip().rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an http:// or https:// address is expected")
    if parts.username or parts.password:
        raise ValueError("put no credentials into the address; use HELDAR_API_KEY")
    return url


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        match = {a.lower(): a for a in allowed}.get(text.strip().lower())
        if match is None:
            raise ValueError(f"one of {', '.join(allowed)} is expected")
        return match

    return read


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not 0 <= int(port) <= 65535:
        raise ValueError("no such port")
    return f"{host or '127.0.0.1'}:{int(port)}"


def _name(text: str) -> str:
    if len(text.strip()) > 256:
        raise ValueError("longer than 256 characters")
    return text.strip()


# Field: (variable, reader, help).
_VARIABLES: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "api": ("HELDAR_API", _url, "address of the server"),
    "api_key": ("HELDAR_API_KEY", str.strip, "API key; the variable is the safer place"),
    "worker_id": ("HELDAR_AI_WORKER_ID", _name, "name of this worker, unique per key"),
    "transport": ("HELDAR_AI_TRANSPORT", _one_of("auto", "stream", "poll"), "how frames travel"),
    "poll_interval": ("HELDAR_AI_POLL_INTERVAL", _number(1.0), "seconds between looks at the tasks"),
    "lease_ttl": ("HELDAR_AI_LEASE_TTL", _number(3.0), "seconds a task stays ours without renewal"),
    "http_timeout": ("HELDAR_HTTP_TIMEOUT", _number(0.1), "seconds before a request counts as failed"),
    "max_retries": ("HELDAR_HTTP_MAX_RETRIES", _whole(0), "repetitions of a failed post"),
    "backoff_base": ("HELDAR_HTTP_BACKOFF_BASE", _number(0.001), "seconds before the first repetition"),
    "backoff_cap": ("HELDAR_HTTP_BACKOFF_CAP", _number(0.1), "longest pause between repetitions, seconds"),
    "log_level": ("HELDAR_LOG_LEVEL", _one_of("DEBUG", "INFO", "WARNING", "ERROR"), "least severe lines shown"),
    "log_format": ("HELDAR_LOG_FORMAT", _one_of("text", "json"), "form of the log lines"),
    "metrics": ("HELDAR_WORKER_METRICS_PORT", _address, "port, or address:port, of /metrics"),
}


@dataclass(frozen=True)
class Settings:
    """All settings of a worker. Seconds are floats."""

    api: str = "http://localhost:8000"
    api_key: str | None = field(default=None, repr=False)
    worker_id: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    #: Accepted for the day the streaming transport exists; this version always polls.
    transport: str = "auto"
    poll_interval: float = 10.0
    lease_ttl: float = 60.0
    http_timeout: float = 10.0
    max_retries: int = 5
    backoff_base: float = 0.5
    backoff_cap: float = 15.0
    log_level: str = "INFO"
    log_format: str = "text"
    metrics: str | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Read the variables; blank counts as unset. Raises `SettingsError`."""
        env = os.environ if env is None else env
        texts = {name: env.get(variable, "") for name, (variable, _, _) in _VARIABLES.items()}
        return cls().overridden(texts)

    def overridden(self, texts: Mapping[str, str | None]) -> Settings:
        """These settings with the given texts read over them; blank and absent keep."""
        changes: dict[str, Any] = {}
        for name, text in texts.items():
            if text is None or not text.strip():
                continue
            variable, read, _ = _VARIABLES[name]
            try:
                changes[name] = read(text)
            except ValueError as cause:
                # The key is never quoted, not even a malformed one.
                shown = "" if name == "api_key" else f" {text!r}"
                raise SettingsError(f"{variable}{shown}: {cause}") from None
        return replace(self, **changes)

    @property
    def ttl_secs(self) -> int:
        """The lease time to ask for: at least three poll intervals, within what servers accept."""
        return int(min(max(self.lease_ttl, 3 * self.poll_interval, 15.0), 300.0))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag per variable: `HELDAR_AI_POLL_INTERVAL` is `--ai-poll-interval`."""
    group = parser.add_argument_group("server and worker settings, each also as HELDAR_* variable")
    for name, (variable, _, text) in _VARIABLES.items():
        group.add_argument(_flag(variable), dest=f"setting_{name}", metavar="VALUE", help=f"{text} ({variable})")


def _flag(variable: str) -> str:
    return "--" + variable[len("HELDAR_") :].lower().replace("_", "-")


def from_flags(arguments: argparse.Namespace, env: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment with the flags of `add_flags` over them. Raises `SettingsError`."""
    texts = {f.name: getattr(arguments, f"setting_{f.name}", None) for f in fields(Settings)}
    return Settings.from_env(env).overridden(texts)
