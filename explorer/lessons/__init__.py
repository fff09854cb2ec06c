"""The course: a lesson is a module with its laboratory, a file of prose, and its line here."""

from explorer.lessons.bits import lesson as bits
from explorer.lessons.centroids import lesson as centroids
from explorer.lessons.clipping import lesson as clipping
from explorer.lessons.compensation import lesson as compensation
from explorer.lessons.formats import lesson as formats
from explorer.lessons.framework.model import Lesson
from explorer.lessons.granularity import lesson as granularity
from explorer.lessons.mixed import lesson as mixed
from explorer.lessons.rounding import lesson as rounding
from explorer.lessons.symmetry import lesson as symmetry
from explorer.lessons.uniform import lesson as uniform
from explorer.lessons.vectors import lesson as vectors

LESSONS: dict[str, Lesson] = {
    lesson.slug: lesson
    for lesson in (
        bits.LESSON,
        formats.LESSON,
        uniform.LESSON,
        symmetry.LESSON,
        clipping.LESSON,
        rounding.LESSON,
        centroids.LESSON,
        mixed.LESSON,
        granularity.LESSON,
        vectors.LESSON,
        compensation.LESSON,
    )
}
