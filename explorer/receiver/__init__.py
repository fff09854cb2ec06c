"""The place where large files are dropped, which a browser then streams to the server."""

from explorer.receiver.mount import receiver

__all__ = ["receiver"]
