"""A lecture as one HTML file: the handout, with room for answers; the record, with the class's answers and the truth.

Neither needs a model, the engine or a network. Titles, names and texts are other people's, and stay text.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from explorer.figures.class_answers import class_answers_figure, describe_class_answers
from explorer.figures.theme import Canvas
from explorer.language import read_words
from explorer.lessons import LESSONS
from explorer.page_table import entry_of
from explorer.report_page import figure_html, page_html
from explorer.teaching.class_chart import few_votes, revealed
from explorer.teaching.drawn import Figures
from explorer.teaching.lecture import Lecture, Slide
from explorer.teaching.questions import Question
from explorer.teaching.spread import spreads_of

LINES = 3  # to write an answer on
STYLE = """<style>
.where { opacity: .75; } .question { border-left: 4px solid #0072b2; padding-left: 12px; }
.line { border-bottom: 1px solid currentColor; height: 2.2em; max-width: 68ch; }
.slide { break-inside: avoid; }
@media screen { .plays .slide { display: none; } .plays .slide.shown { display: block; } }
@media print { .keys, details { display: none; } }
</style>"""
SCRIPT = """<script>
document.body.classList.add("plays");
const slides = [...document.querySelectorAll(".slide")];
let at = Math.max(0, slides.findIndex((slide) => `#${slide.id}` === location.hash));
const show = (to) => {
  at = Math.min(Math.max(to, 0), slides.length - 1);
  slides.forEach((slide, place) => slide.classList.toggle("shown", place === at));
  history.replaceState(null, "", `#${slides[at].id}`);
  dispatchEvent(new Event("resize"));
};
addEventListener("keydown", ({ key }) => {
  const by = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[key];
  if (by) show(at + by);
});
for (const button of document.querySelectorAll(".keys button")) button.onclick = () => show(at + Number(button.value));
addEventListener("load", () => show(at));
</script>"""


@dataclass(frozen=True)
class Asked:
    """A question, and what a class has answered in each round."""

    question: Question
    votes: Mapping[int, Sequence[float]]


def handout_html(lecture: Lecture, figures: Figures, questions: Mapping[str, Question], canvas: Canvas) -> str:
    """Return the pages to print; `questions` are those that slides name.

    Nothing on them tells an answer if the `figures` do not.
    """
    asked = {name: Asked(question, {}) for name, question in questions.items()}
    return _file(lecture, "".join(_slides(lecture, figures, asked, canvas, told=False)), "")


def record_html(
    lecture: Lecture, figures: Figures, asked: Mapping[str, Asked], others: Sequence[Asked], canvas: Canvas
) -> str:
    """Return the lecture as it was held, to be gone through by arrow keys.

    `asked` are the questions that slides name, `others` what the class was asked besides.
    """
    slides = [*_slides(lecture, figures, asked, canvas, told=True)]
    for number, one in enumerate(others, len(slides) + 1):
        slides.append(
            _section(number, read_words("teach")["record"]["besides"], "", _question(number, one, canvas, True))
        )
    return _file(lecture, "".join(slides), SCRIPT)


def _file(lecture: Lecture, slides: str, script: str) -> str:
    said = read_words("teach")["record"]
    title = _text(lecture.title or read_words("teach")["title"])
    keys = (
        f"<p class='keys'><button value='-1'>‹</button> <button value='1'>›</button> {_text(said['keys'])}</p>"
        if script
        else ""
    )
    return page_html(title, f"{STYLE}<h1>{title}</h1>{keys}{slides}{script}")


def _slides(
    lecture: Lecture, figures: Figures, asked: Mapping[str, Asked], canvas: Canvas, told: bool
) -> Iterator[str]:
    said = read_words("teach")
    for number, slide in enumerate(lecture.slides, 1):
        about = f"{entry_of(slide.page).title} · {said['minutes'].format(minutes=f'{slide.seconds / 60:g}')}"
        body = _words(slide, told or not slide.answers_hidden)  # what is to be remembered may be the answer
        for place, (data, alt) in enumerate(figures.get(number, {}).values()):
            body += figure_html(f"figure{number}_{place}", data, _text(alt))
        if slide.asks in asked:
            body += _question(number, asked[slide.asks], canvas, told)
        yield _section(number, f"{number}. {slide.title or slide.page}", about, body)


def _section(number: int, title: str, about: str, body: str) -> str:
    head = f"<h2>{_text(title)}</h2><p class='where'>{_text(about)}</p>"
    return f"<section class='slide' id='slide{number}'>{head}{body}</section>"


def _words(slide: Slide, telling: bool) -> str:
    """Return what a lesson is about, and what to remember of it."""
    lesson = LESSONS.get(slide.page.removeprefix("lesson_"))
    if lesson is None:
        return ""
    lead = lesson.prose.lead.replace("**", "")
    remember = "".join(f"<li>{_text(line)}</li>" for line in lesson.prose.remember) if telling else ""
    return f"<p>{_text(lead)}</p><ul>{remember}</ul>" if remember else f"<p>{_text(lead)}</p>"


def _question(number: int, asked: Asked, canvas: Canvas, told: bool) -> str:
    question, votes = asked.question, spreads_of(asked.question, asked.votes)
    body = f"<div class='question'><p><strong>{_text(question.text)}</strong></p>"
    if question.options:
        body += f"<ol type='A'>{''.join(f'<li>{_text(option)}</li>' for option in question.options)}</ol>"
    if question.histogram or (told and (votes or question.options)):  # what is asked of a tensor, its values answer
        shown = votes if told else {}
        figure = class_answers_figure(question, shown, told, canvas)
        alt = describe_class_answers(question, shown, told)
        body += figure_html(f"question{number}", figure.to_json(engine="json"), _text(alt))
    if told and len(votes) < len(asked.votes):
        body += f"<p>{_text(few_votes())}</p>"
    answer = f"<p>{_text(revealed(question))}</p>" if told else "<div class='line'></div>" * LINES
    return f"{body}{answer}</div>"


def _text(text: str) -> str:
    return html.escape(text)
