"""Long work: tasks, the scheduler that does them for all sessions, and the part of a page that shows them."""

from explorer.background.live import clocked, live
from explorer.background.scheduler import Scheduler, Session
from explorer.background.task import Kind, Task, shares

__all__ = ["Kind", "Scheduler", "Session", "Task", "clocked", "live", "shares"]
