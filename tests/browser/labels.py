"""Where the text of figures stands: measured on Plotly's, noted from what is written on a canvas."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

SMALLEST = 14  # pixels
SLACK = 1.5  # pixels by which boxes may touch

NOTE_TEXT = """
const fillText = CanvasRenderingContext2D.prototype.fillText;
const clearRect = CanvasRenderingContext2D.prototype.clearRect;
CanvasRenderingContext2D.prototype.clearRect = function (...where) {
  this.canvas.texts = [];
  return clearRect.apply(this, where);
};
CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
  const size = this.measureText(text), at = this.getTransform();
  const corners = [[-size.actualBoundingBoxLeft, -size.actualBoundingBoxAscent],
    [size.actualBoundingBoxRight, size.actualBoundingBoxDescent]]
    .map(([dx, dy]) => at.transformPoint({ x: x + dx, y: y + dy }));
  const [xs, ys] = [corners.map(c => c.x), corners.map(c => c.y)];
  const type = parseFloat(this.font.match(/([\\d.]+)px/)[1]) * Math.hypot(at.a, at.b);
  (this.canvas.texts ??= []).push({ text, type, left: Math.min(...xs), right: Math.max(...xs),
    top: Math.min(...ys), bottom: Math.max(...ys) });
  return fillText.call(this, text, x, y, ...rest);
};
"""
LABELS = """() => {
  const seen = element => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const ofElement = element => {
    const box = element.getBoundingClientRect().toJSON();
    const high = box.height * 0.15;  // what a line has above and below its letters
    return { text: element.textContent, type: parseFloat(getComputedStyle(element).fontSize), left: box.left,
      right: box.right, top: box.top + high, bottom: box.bottom - high };
  };
  const plots = [...document.querySelectorAll('.js-plotly-plot')].filter(seen).map(plot => ({
    name: plot.closest('[class*=st-key-]')?.className.match(/st-key-\\S+/)[0] ?? 'plot',
    frame: plot.querySelector('.main-svg').getBoundingClientRect().toJSON(),
    texts: [...plot.querySelectorAll('.main-svg text')].filter(t => t.textContent.trim() && seen(t)).map(ofElement),
  }));
  const hosts = [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')];
  const canvases = hosts.flatMap(host => [...host.shadowRoot.querySelectorAll('canvas')]).filter(seen);
  const drawn = canvases.map(canvas => {
    const frame = canvas.getBoundingClientRect().toJSON();
    const ratio = frame.width / canvas.width;
    const texts = (canvas.texts ?? []).map(t => ({ text: t.text, type: t.type * ratio,
      left: frame.left + t.left * ratio, right: frame.left + t.right * ratio,
      top: frame.top + t.top * ratio, bottom: frame.top + t.bottom * ratio }));
    const over = [...canvas.parentElement.querySelectorAll('.marks button, .handle span')].filter(seen).map(ofElement);
    return { name: `canvas ${canvas.className}`, frame, texts: [...texts, ...over] };
  });
  return [...plots, ...drawn];
}"""


def label_faults(page: Page) -> list[str]:
    """Say which texts of figures overlap, are cut off by their figure's edge, or are too small to be read."""
    return [fault for figure in page.evaluate(LABELS) for fault in _faults(figure)]


def _faults(figure: dict[str, Any]) -> list[str]:
    texts, frame, found = figure["texts"], figure["frame"], []
    for place, one in enumerate(texts):
        if one["type"] < SMALLEST - 0.1:
            found.append(f"{figure['name']}: {one['text']!r} has {one['type']:.1f} pixels")
        if min(one["left"] - frame["left"], frame["right"] - one["right"]) < -SLACK or (
            min(one["top"] - frame["top"], frame["bottom"] - one["bottom"]) < -SLACK
        ):
            found.append(f"{figure['name']}: {one['text']!r} is cut off")
        for other in texts[:place]:
            wide = min(one["right"], other["right"]) - max(one["left"], other["left"])
            high = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
            if wide > SLACK and high > SLACK:
                found.append(f"{figure['name']}: {one['text']!r} and {other['text']!r} overlap")
    return found
