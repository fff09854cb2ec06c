"""The course: a lesson is a module with its laboratory, a file of prose, and its line here."""

from explorer.lessons import (
    bits,
    centroids,
    clipping,
    compensation,
    formats,
    granularity,
    mixed,
    rounding,
    symmetry,
    uniform,
    vectors,
)
from explorer.lessons.model import Lesson

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
