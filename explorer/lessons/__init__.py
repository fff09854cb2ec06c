"""The course: a lesson is a module with its laboratory, a file of prose, and its line here."""

from explorer.lessons import bits, clipping, rounding, symmetry, uniform
from explorer.lessons.model import Lesson

LESSONS: dict[str, Lesson] = {
    lesson.slug: lesson for lesson in (bits.LESSON, uniform.LESSON, symmetry.LESSON, clipping.LESSON, rounding.LESSON)
}
