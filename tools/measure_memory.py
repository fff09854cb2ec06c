"""Measure a running server's memory over random links, each opened by a session of its own that goes.

    python -m tools.measure_memory http://localhost:8501 [--links 150] [--every 25]

Prints the server's status line every so many links. With its bounds, memory is flat from there on; beside
`LayerInputs` and `ByteCache`, torch and numba take some 500 MiB.
"""

from __future__ import annotations

import argparse
import random
import urllib.parse

from explorer.fields import Choice, Number
from explorer.page_table import PAGES
from explorer.state import PlaygroundState
from quant_engine.models import ARCHITECTURES
from tools.session import Session

MOST = 64  # of whole numbers: larger ones are hardly ever valid


def random_link(rng: random.Random) -> str:
    """Return a query that sets the model, a tensor and about a third of the playground's fields."""
    model = rng.choice(list(ARCHITECTURES))
    layers = [step.name for step, _, _ in ARCHITECTURES[model].layer_inputs()]
    found: dict[str, object] = {"model": model, "tensor": rng.choice(layers)}
    for field in PlaygroundState.fields().values():
        if rng.random() > 1 / 3:
            continue
        if isinstance(field, Choice):
            found[field.key] = rng.choice(list(field.options))
        elif isinstance(field, Number) and field.whole:
            found[field.key] = rng.randint(int(field.min), int(min(field.max, MOST)))
    return urllib.parse.urlencode(found)


def status(url: str) -> str:
    """Return the server's own line."""
    with Session(url, "status") as session:
        session.open()
        return session.texts[-1]


def main() -> None:
    """Open links and print what the server holds."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("url")
    ask.add_argument("--links", type=int, default=150)
    ask.add_argument("--every", type=int, default=25)
    ask.add_argument("--seed", type=int, default=0)
    args = ask.parse_args()
    rng = random.Random(args.seed)
    pages = [page.script.removesuffix(".py") for page in PAGES["learn"]]
    print(0, status(args.url), flush=True)
    for number in range(1, args.links + 1):
        page = "" if rng.random() < 2 / 3 else rng.choice(pages)
        with Session(args.url, page, random_link(rng)) as session:
            session.open()
        if number % args.every == 0:
            print(number, status(args.url), flush=True)


if __name__ == "__main__":
    main()
