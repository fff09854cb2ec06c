"""Open pages by links that nobody has checked: each answers without an exception, and says what it does not take.

    python -m tools.fuzz_links [--pages playground,tuner] [--random 2000] [--crafted 200] [--seed 0]

For each page so many links with random text, and so many with text that has broken programs before, each opened in a
session of its own on a server that is started for it. Prints each that shows an exception or is not answered, how many
of a page were opened and how many of them were refused in words, and fails if the server logged a line, too.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import string
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from websockets.exceptions import WebSocketException

from explorer.comparison_fields import FIRST_AS, SECOND_AS, compare_with_field
from explorer.fields import Choice, Field, Number
from explorer.frame import CONVENTION, language_field, model_field, tensor_field
from explorer.lessons import LESSONS
from explorer.page_table import PAGES
from explorer.pins import HOME, PINS
from explorer.presenting import PRESENT
from explorer.state import PlaygroundState
from explorer.text_fields import FIELDS as TEXT_FIELDS
from explorer.tuning.codec import PLAN
from tools.session import Session
from tools.soak import begin, logged

AT_ONCE = 4  # links
DEEP = 20_000
NUMBERS = (
    *(
        "",
        " ",
        "\x00",
        "\ufeff",
        "\u202e3",
        "٣",
        "½",
        "1_000",
        "0x10",
        "+4",
        "-0",
        "1e1",
        "4.0",
        "4.5",
        "-1",
        "NaN",
        "nan",
    ),
    *("inf", "-inf", "1e308", "1e999", "9" * 400, "9" * 5000, "-" * 400, "None", "null", "true", "undefined"),
)
TEXTS = (
    *(
        "<script>alert(1)</script>",
        "![a](//evil.example/x)",
        "$\\href{x}{y}$",
        "{__class__}",
        "%(x)s",
        "'; DROP TABLE x",
    ),
    *("../../etc/passwd", "file:///etc/passwd", "int4", "min–max", "\n\n# h", "\\", "`", "|" * 500, "," * 500),
)
CODED = (  # pins, plans, ranges and numbers
    *(
        "default|" * 400,
        "bits:4,bits:5",
        "bits:nan",
        "bits:",
        ":4",
        "format:float,scales:E4M3|" * 3,
        "_".join("4" * 5000),
    ),
    *("[" * DEEP, '{"a":' * DEEP, '{"schema":1,"base":' * 900, '{"schema":1,"base":{"bits":1e999}}', '{"schema":NaN}'),
    *('{"schema":1,"base":{"bits":[4]},"edits":[],"ranges":{"a":7},"plain":5,"locks":null}', '{"schema":1,"base":[1]}'),
    *('{"schema":1,"ranges":{"conv1":[[0,NaN,1],[1e99,0,1],[-1,1,0]]}}', '{"schema":1,"edits":{"conv1":{"bits":"x"}}}'),
    *('{"schema":1,"schema":1,"edits":{"conv1":{"bits":2},"conv1":{"bits":3}}}', "0:1:2", "0:nan:inf", "ab:0:-1:1"),
    *("0123abcd~" + "0:0:1;" * 2000, "1;2;3", "1 2 3", "-1e400 1e400", "0.1_" * 900, "0" * 300 + "1", ":" * 500),
)
HOSTILE = (*NUMBERS, *TEXTS, *CODED)


def fields_of(script: str) -> tuple[Field[Any], ...]:
    """Return the fields that a page reads: those of its own first, then those that all pages share."""
    slug = script.removesuffix(".py").removeprefix("lesson_")
    own: dict[str, Sequence[Field[Any]]] = {
        "tuner": (PLAN,),
        "text": TEXT_FIELDS,
        "compare": (compare_with_field(), FIRST_AS, SECOND_AS),
        "home": (HOME,),
        **{name: lesson.all_fields for name, lesson in LESSONS.items()},
    }
    playground = (*PlaygroundState.fields().values(), PINS)
    shared = (model_field(), tensor_field(model_field().default), CONVENTION, PRESENT, language_field())
    return (*own.get(slug, playground), *shared)


def crafted(fields: Sequence[Field[Any]], links: int, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield links of which each field has had text that has broken programs."""
    for number in range(links):
        yield {fields[number % len(fields)].key: rng.choice(HOSTILE)} | _some(
            fields, rng, lambda _: rng.choice(HOSTILE)
        )


def drawn(fields: Sequence[Field[Any]], links: int, rng: random.Random) -> Iterator[dict[str, str]]:
    """Yield links of some fields, each with text that is valid, nearly valid, or neither."""
    for _ in range(links):
        yield _some(fields, rng, lambda field: _text(field, rng)) | (
            {_noise(rng): _noise(rng)} if rng.random() < 0.1 else {}
        )


def _some(fields: Sequence[Field[Any]], rng: random.Random, text: Any) -> dict[str, str]:
    return {field.key: text(field) for field in rng.sample(fields, rng.randint(1, min(4, len(fields))))}


def _text(field: Field[Any], rng: random.Random) -> str:
    if isinstance(field, Choice) and rng.random() < 0.7:
        return rng.choice([*field.options])
    if isinstance(field, Number) and rng.random() < 0.7:
        found = rng.uniform(float(field.min) - 1, float(field.max) + 1)
        return str(round(found) if field.whole else found)
    return _noise(rng) if rng.random() < 0.7 else "".join(rng.sample(known := field.key + "0,:|;_.-", len(known)))


def _noise(rng: random.Random) -> str:
    signs = rng.choice((string.printable, string.digits + "-.,:|_", "\u0000\u202e\U0001f600äλ\\\"'<>{}[]$"))
    return "".join(rng.choices(signs, k=rng.choice((1, 3, 10, 60))))


def opened(url: str, page: str, link: dict[str, str]) -> tuple[str, bool]:
    """Open a page by a link; return the exception it ends in, if any, and whether it refuses something in words."""
    try:
        with Session(url, page, urllib.parse.urlencode(link, errors="replace")) as session:
            session.open()
            return "; ".join(session.exceptions), bool(session.warnings)
    except (OSError, WebSocketException) as error:  # no answer is a result
        return f"{type(error).__name__}: {error}", False


def main() -> None:
    """Open links, and say what became of them."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--pages", default=",".join(one.script[:-3] for pages in PAGES.values() for one in pages))
    ask.add_argument("--random", type=int, default=2000)
    ask.add_argument("--crafted", type=int, default=200)
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made, ThreadPoolExecutor(AT_ONCE) as pool:
        server, url = begin(folder := pathlib.Path(made))
        try:
            for page in args.pages.split(","):
                rng, refused, broken = random.Random(f"{args.seed} {page}"), 0, 0
                fields = fields_of(f"{page}.py")
                links = [*crafted(fields, args.crafted, rng), *drawn(fields, args.random, rng)]
                for link, (exception, said) in zip(links, pool.map(partial(opened, url, page), links), strict=True):
                    refused, broken = refused + said, broken + bool(exception)
                    if exception:
                        print(f"{page}: {exception[:300]!r} by {str(link)[:500]}", flush=True)
                print(f"{page}: {len(links)} links, {refused} refused in words, {broken} exceptions", flush=True)
                failed += broken
        finally:
            server.terminate()
            server.wait(30)
        for line in (lines := logged(folder)):
            print(f"logged: {line}", flush=True)
    sys.exit(min(failed + len(lines), 1))


if __name__ == "__main__":
    main()
