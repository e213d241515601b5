"""Watches a live view over WHEP with aiortc, a WebRTC stack that is not ours, and tells what it sees.

usage: whep_client.py URL PICTURES

Reports one JSON object: the status and headers of the answer, the codecs that were agreed, the number burned into each
decoded picture (-1: none), the frames of sound, and whether the session's resource could be deleted.
"""

import asyncio
import json
import sys
import time

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription

DEADLINE = 20.0


def number_of(frame):
    """The number in the strip of a test camera's picture, as e2e/strip.mjs reads it."""
    block = frame.width / 40
    row = int(block * 1.5)
    plane = frame.planes[0]
    line = bytes(plane)[row * plane.line_size : row * plane.line_size + frame.width]
    levels = [line[int(block * (index + 0.5))] for index in range(40)]
    white, black = levels[1], levels[2]
    if white <= black + 60:
        return -1
    code = 0
    for bit in range(24):
        code = code << 1 | (levels[3 + bit] > (white + black) / 2)
    crc = 0x5A
    for byte in (code >> 16 & 255, code >> 8 & 255):
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 255
    return code >> 8 if crc == code & 255 else -1


async def watch(url, wanted):
    peer = RTCPeerConnection()
    report = {"numbers": [], "sounds": 0, "states": []}
    enough = asyncio.Event()
    asked = time.monotonic()

    async def pictures(track):
        while len(report["numbers"]) < wanted:
            frame = await track.recv()
            report.setdefault("first_ms", round((time.monotonic() - asked) * 1000))
            report["numbers"].append(number_of(frame))
        enough.set()

    async def sounds(track):
        while True:
            await track.recv()
            report["sounds"] += 1

    tasks = []

    @peer.on("track")
    def on_track(track):
        tasks.append(asyncio.ensure_future(pictures(track) if track.kind == "video" else sounds(track)))

    @peer.on("connectionstatechange")
    def on_state():
        report["states"].append(peer.connectionState)

    peer.addTransceiver("video", direction="recvonly")
    peer.addTransceiver("audio", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    async with aiohttp.ClientSession() as http:
        headers = {"content-type": "application/sdp"}
        async with http.post(url, data=peer.localDescription.sdp, headers=headers) as answer:
            report["status"] = answer.status
            report["etag"] = answer.headers.get("etag")
            body = await answer.text()
            resource = answer.headers.get("location")
        if report["status"] != 201:
            report["error"] = body
        else:
            await peer.setRemoteDescription(RTCSessionDescription(body, "answer"))
            report["codecs"] = [line.split(" ", 1)[1] for line in body.splitlines() if line.startswith("a=rtpmap:")]
            try:
                await asyncio.wait_for(enough.wait(), DEADLINE)
            except asyncio.TimeoutError:
                report["error"] = f"no {wanted} pictures within {DEADLINE} s"
            resource = str(aiohttp.client.URL(url).join(aiohttp.client.URL(resource)))
            async with http.delete(resource) as deleted:
                report["deleted"] = deleted.status
            async with http.delete(resource) as deleted:
                report["deleted_again"] = deleted.status
    for task in tasks:
        task.cancel()
    await peer.close()
    return report


print(json.dumps(asyncio.run(watch(sys.argv[1], int(sys.argv[2])))))
