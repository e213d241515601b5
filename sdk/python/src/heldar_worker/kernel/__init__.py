"""A testing kernel: a small server that speaks the workers' side of Heldar, fed by a video file.

Owns: what is needed to write and test a worker without cameras and without Heldar itself: tasks, leases, frames with
tickets, ingest with all its checks. It keeps the last results in memory and nothing on disk. It is a test
tool: it has no users, no zones, no recordings, and must never face a network.
"""

from .messages import Reply, Request
from .server import Kernel

__all__ = ["Kernel", "Reply", "Request"]
