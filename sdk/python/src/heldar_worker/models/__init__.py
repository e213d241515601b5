"""Models a worker can fetch by name, verified and converted once.

Owns: the list of known models with their digests, and the folder they are kept in. Never: uses a file whose
digest differs.
"""

from .store import KNOWN, KnownModel, ModelError, cached, folder, get

__all__ = ["KNOWN", "KnownModel", "ModelError", "cached", "folder", "get"]
