"""A camera that is not ours: GStreamer's RTSP server looping raw pictures, encoded as they are sent.

gst_camera.py PORT WIDTH HEIGHT RATE PICTURES.yuv LOG [USER PASSWORD]

Prints `ready PORT` once it listens. LOG gets a line for every coded picture handed to a payloader: mount, the media
(another for each time the mount is opened), presentation time in nanoseconds, and the MD5 of its slices as ffmpeg's bit
stream filters write them: the first behind a start code of four bytes, others behind one of three.
"""

import hashlib
import os
import re
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

X264 = "x264enc tune=zerolatency speed-preset=ultrafast bitrate=500 key-int-max={gop} "
H264 = " ! video/x-h264,profile={profile},stream-format=byte-stream,alignment=au ! rtph264pay name=pay0 pt=96 config-interval={sets}"
X265 = "x265enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max={gop} option-string=log-level=none"
H265 = " ! video/x-h265,stream-format=byte-stream,alignment=au ! rtph265pay name=pay0 pt=96 config-interval={sets}"

MOUNTS = {
    "h264": X264 + H264.format(profile="baseline", sets=0),
    "h264_in_band": X264 + H264.format(profile="high", sets=-1),
    # Without zero latency there are B pictures and a look-ahead; threads=1 keeps the latter short.
    "h264_b": "x264enc speed-preset=ultrafast bitrate=500 key-int-max={gop} bframes=2 b-adapt=false b-pyramid=false threads=1 rc-lookahead=0 sync-lookahead=0"
    + H264.format(profile="main", sets=-1),
    "h265": X265 + H265.format(sets=-1),
    "mjpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def nal_units(data):
    """NAL units of a byte stream (H.264 annex B)."""
    starts = [match.end() for match in re.finditer(b"\x00\x00\x01", data)]
    ends = [start - 3 for start in starts[1:]] + [len(data)]
    return [data[start:end].rstrip(b"\x00") for start, end in zip(starts, ends)]


def slices(data, hevc):
    kept = b""
    for unit in nal_units(data):
        kind = (unit[0] >> 1) & 0x3F if hevc else unit[0] & 0x1F
        if kind <= 31 if hevc else 1 <= kind <= 5:
            kept += (b"\0\0\1" if kept else b"\0\0\0\1") + unit
    return hashlib.md5(kept).hexdigest()


def main():
    port, width, height, rate = sys.argv[1:5]
    pictures, log_path = sys.argv[5:7]
    account = sys.argv[7:9]
    Gst.init(None)
    log = open(log_path, "a", buffering=1)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    size = int(width) * int(height) * 3 // 2
    source = (
        f"multifilesrc location={pictures} loop=true ! rawvideoparse format=i420 width={width} height={height} "
        f"framerate={rate}/1 frame-size={size} ! queue max-size-buffers=4 ! "
    )
    media_count = {}

    def configure(_factory, media, name):
        media_count[name] = media_count.get(name, 0) + 1
        number = f"{os.getpid()}.{media_count[name]}"
        hevc = name == "h265"

        def seen(_pad, info):
            buffer = info.get_buffer()
            mapped, memory = buffer.map(Gst.MapFlags.READ)
            if mapped:
                log.write(f"{name} {number} {buffer.pts} {slices(bytes(memory.data), hevc)}\n")
                buffer.unmap(memory)
            return Gst.PadProbeReturn.OK

        payloader = media.get_element().get_by_name("pay0")
        payloader.get_static_pad("sink").add_probe(Gst.PadProbeType.BUFFER, seen)

    for name, encode in MOUNTS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch("( " + source + encode.format(gop=int(rate) * 2) + " )")
        factory.set_shared(True)
        factory.connect("media-configure", configure, name)
        if account:
            factory.add_role_from_structure(
                Gst.Structure.from_string(
                    "viewer,media.factory.access=(boolean)true,media.factory.construct=(boolean)true"
                )[0]
            )
        server.get_mount_points().add_factory("/" + name, factory)
    if account:
        user, password = account
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
        server.set_auth(auth)
    if server.attach(None) == 0:
        sys.exit("the port cannot be listened on")
    print("ready", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
