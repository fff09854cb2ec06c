"""What of a lesson is in sight on the first screen."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

IN_SIGHT = 0.6  # of the height of the figure, or of the screen where that is less

PLACES = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  main.scrollTo(0, 0);
  const box = element => element.getBoundingClientRect().toJSON();
  const hosts = [...main.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
  const canvases = hosts.flatMap(host => [...host.shadowRoot.querySelectorAll('canvas')]);
  const drawn = hosts.filter(host => !host.shadowRoot.querySelector('canvas'));  // steppers, bits
  const figures = [...main.querySelectorAll('.js-plotly-plot'), ...canvases, ...drawn]
    .filter(each => each.clientHeight > 100);
  const controls = main.querySelectorAll('[data-testid=stSelectbox], [data-testid=stSlider]');
  return {
    figures: figures.map(box).sort((one, other) => one.y - other.y),
    controls: [...controls].map(box),
    words: box(main.querySelector('[data-testid=stButtonGroup]')),
    onward: [...main.querySelectorAll('[data-testid=stBaseButton-primary]')].map(box),
    wide: document.documentElement.scrollWidth > innerWidth,
    height: innerHeight,
  };
}"""


def places(page: Page) -> dict[str, Any]:
    page.get_by_test_id("stButtonGroup").first.wait_for()
    return page.evaluate(PLACES)


def is_in_one_screen(found: dict[str, Any]) -> bool:
    """Say whether the figure is seen, right of the words and under its controls."""
    first = found["figures"][0]
    seen = min(first["y"] + first["height"], found["height"]) - max(first["y"], 0)
    above = all(box["y"] >= 0 and box["y"] + box["height"] <= first["y"] + 8 for box in found["controls"])
    return (
        seen >= IN_SIGHT * min(first["height"], found["height"])
        and above
        and found["words"]["x"] + found["words"]["width"] <= first["x"]
    )
