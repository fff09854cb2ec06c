// A canvas that is sharp on every screen, with the few strokes the figures need.

/** Return how much larger the page shows an element than it is. */
function zoomOf(element) {
  return element.getBoundingClientRect().width / element.offsetWidth || 1;
}

/** Return the pixel of an element that lies under a pointer. */
function pixelOf(element, clientX) {
  return (clientX - element.getBoundingClientRect().left) / zoomOf(element);
}

/** Return a pen for a canvas, sized to its element; colours come from the palette and the page's theme. */
function pen(canvas, palette) {
  const context = canvas.getContext("2d");
  const ratio = (window.devicePixelRatio || 1) * zoomOf(canvas);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = getComputedStyle(canvas);
  const trace = (points) => {
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  };
  return {
    palette, width, height,
    ink: style.color,
    hatched: hatching(context, palette),
    clear: () => context.clearRect(0, 0, width, height),
    line(points, color, thickness, dash = []) {
      trace(points);
      context.strokeStyle = color;
      context.lineWidth = thickness;
      context.setLineDash(dash);
      context.stroke();
    },
    area(points, fill, edge) {
      trace(points);
      context.fillStyle = fill;
      context.fill();
      if (edge) this.line(points, edge, 1);
    },
    bar(x, y, wide, high, fill) {
      context.fillStyle = fill;
      context.fillRect(x, y, wide, high);
    },
    triangle(x, y, size, fill) {
      this.area([[x - size, y + size * 0.8], [x, y - size * 0.8], [x + size, y + size * 0.8]], fill);
    },
    dot(x, y, radius, fill, edge) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.setLineDash([]);
      if (fill) {
        context.fillStyle = fill;
        context.fill();
      }
      context.strokeStyle = edge;
      context.lineWidth = 1.5;
      context.stroke();
    },
    cross(x, y, size, color) {
      this.line([[x - size, y - size], [x + size, y + size]], color, 4);
      this.line([[x - size, y + size], [x + size, y - size]], color, 4);
    },
    clip(left, top, right, bottom, draw) {
      context.save();
      context.beginPath();
      context.rect(left, top, Math.max(right - left, 0), bottom - top);
      context.clip();
      draw();
      context.restore();
    },
    text(words, x, y, { align = "left", baseline = "alphabetic", color, bold, turned } = {}) {
      context.save();
      context.translate(x, y);
      if (turned) context.rotate(-Math.PI / 2);
      context.font = `${bold ? "600 " : ""}${style.fontSize} ${style.fontFamily}`;
      context.fillStyle = color ?? style.color;
      context.textAlign = align;
      context.textBaseline = baseline;
      context.fillText(words, 0, 0);
      context.restore();
    },
    wide(words) {
      context.font = `${style.fontSize} ${style.fontFamily}`;
      return context.measureText(words).width;
    },
  };
}

/** Return the pattern of clipped parts. */
function hatching(context, palette) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const g = tile.getContext("2d");
  g.fillStyle = palette.clippedFill;
  g.fillRect(0, 0, 6, 6);
  g.strokeStyle = palette.original;
  g.lineWidth = 1;
  for (const shift of [-6, 0, 6]) {
    g.beginPath();
    g.moveTo(shift, 6);
    g.lineTo(shift + 6, 0);
    g.stroke();
  }
  return context.createPattern(tile, "repeat");
}
