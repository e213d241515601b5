"""Tells of everybody who comes into a zone: a program beside Heldar that misses nobody, whoever of the two is restarted.

    HELDAR_API_KEY=vok_... python3 doorbell.py [STATE_FILE]

The key needs `events:read` and may be limited to cameras. How far it is stands in the state file: the number of the last
message that it has dealt with. What it does comes before the number is stored, so that after a crash it may do it once more;
the number tells it apart.
"""

import json
import os
import pathlib
import sys
import time
import urllib.request

server = os.environ.get("HELDAR_API", "http://localhost:8000")
state = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "doorbell.seq")

while True:
    headers = {"X-API-Key": os.environ.get("HELDAR_API_KEY", ""), "Last-Event-ID": state.read_text() if state.exists() else "0"}
    request = urllib.request.Request(f"{server}/api/v1/events/stream?event_type=zone_enter", headers={k: v for k, v in headers.items() if v})
    try:
        with urllib.request.urlopen(request, timeout=60) as stream:
            seq = data = None
            for line in stream:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    seq = value
                elif name == "data":
                    data = json.loads(value)
                elif name == "" and seq:
                    if data and "event_type" in data:
                        print(data["seq"], data["camera_id"], data["payload"]["zone"], data["payload"]["label"], flush=True)
                    state.with_suffix(".new").write_text(seq)
                    state.with_suffix(".new").replace(state)
                    data = None
    except OSError as error:
        print(f"again in a second: {error}", file=sys.stderr)
    time.sleep(1)
