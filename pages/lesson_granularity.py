"""A lesson of the course; what it says and shows is in `explorer/lessons/`."""

from explorer.lessons import LESSONS
from explorer.lessons.framework.renderer import show

show(LESSONS["granularity"])
