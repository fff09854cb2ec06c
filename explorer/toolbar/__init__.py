"""What stands at the right of the navigation on every page: Present and Copy link."""

from explorer.toolbar.mount import toolbar

__all__ = ["toolbar"]
