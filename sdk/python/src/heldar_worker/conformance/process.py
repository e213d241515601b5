"""A worker as a child process.

Owns: starting it with the variables of the contract, collecting what it prints, its end, and its memory.
Everything it prints goes to a file, so that a talkative worker is never held up by a full pipe.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


class WorkerProcess:
    """Runs until `terminate` or `kill`. Raises `OSError` when the command cannot be started."""

    def __init__(self, command: str | Sequence[str], env: Mapping[str, str]) -> None:
        self._output = tempfile.NamedTemporaryFile(prefix="heldar-worker-", suffix=".log", delete=False)  # noqa: SIM115
        self._path = Path(self._output.name)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HELDAR_")}
        # A group of its own: the command may be a script that starts the worker proper.
        self._process = subprocess.Popen(
            shlex.split(command) if isinstance(command, str) else list(command),
            env={**inherited, "PYTHONUNBUFFERED": "1", **env},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def output(self) -> str:
        """All it printed so far."""
        return self._path.read_text(encoding="utf-8", errors="replace")

    def terminate(self, timeout: float) -> int | None:
        """Send SIGTERM; the exit status, or None when it did not end in time."""
        if self.alive:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def memory_kib(self) -> int | None:
        """Resident memory of the process, where the system tells (Linux)."""
        try:
            text = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii", errors="replace")
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))
        except (OSError, StopIteration, ValueError, IndexError):
            return None

    def close(self) -> None:
        """End it by force, with what it started, and drop what it printed."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()
        self._output.close()
        self._path.unlink(missing_ok=True)
