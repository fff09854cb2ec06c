// The figure of the centroids: histogram and thresholds, the rail on which centroids slide, the share of each bucket.

const PARTS = { values: [0, 0.5], rail: [0.515, 0.7], codes: [0.76, 1] };
const EDGES = { left: 62, right: 10, top: 10, bottom: 40 };
const SHADED_GAP = 3; // pixels; thinner buckets are not told apart by shading

/** Return the place of the figure's parts, and the map from values to pixels, as the instrument's figure has them. */
function bucketFrame(width, height, sight) {
  const [left, right] = [EDGES.left, width - EDGES.right];
  const [top, bottom] = [EDGES.top, height - EDGES.bottom];
  return {
    left, right, top, bottom, sight,
    x: (value) => left + ((value - sight[0]) / (sight[1] - sight[0])) * (right - left),
    value: (pixel) => sight[0] + ((pixel - left) / (right - left)) * (sight[1] - sight[0]),
    panel: (name) => PARTS[name].map((part) => top + part * (bottom - top)),
  };
}

/** Return the quantizer of centroids in order; a value on a threshold goes to the lower one. */
function bucketQuantizer(levels) {
  const quantizer = quantizerOf({ levels });
  const edge = (k) => {
    const middle = quantizer.edge(k);
    return middle + Math.max(Math.abs(middle) * Number.EPSILON, Number.MIN_VALUE);
  };
  return { ...quantizer, edge };
}

/** Return the mean of the values in every bucket; null where there is none. */
function bucketMeans(stats, { count, edge }) {
  const sums = sumsBelow(stats, Float64Array.from({ length: count - 1 }, (_, k) => edge(k + 1)));
  return Array.from({ length: count }, (_, k) => {
    const [at, before] = [COLUMNS * k, COLUMNS * (k - 1)];
    const values = sums[at] - (k ? sums[before] : 0);
    return values > 0.5 ? (sums[at + 1] - (k ? sums[before + 1] : 0)) / values : null;
  });
}

/** Shade every other bucket, and the chosen one more strongly; dotted lines are the thresholds. */
function drawCells(g, frame, { quantizer, chosen }) {
  const [top] = frame.panel("values");
  const [, bottom] = frame.panel("rail");
  const { count, edge } = quantizer;
  for (let k = 0; k < count; k++) {
    const a = Math.max(k ? frame.x(edge(k)) : frame.left, frame.left);
    const b = Math.min(k < count - 1 ? frame.x(edge(k + 1)) : frame.right, frame.right);
    if (b <= a) continue;
    if (k === chosen) g.bar(a, top, Math.max(b - a, 2), bottom - top, g.palette.chosen);
    else if (k % 2 && b - a >= SHADED_GAP) g.bar(a, top, b - a, bottom - top, g.palette.cell);
  }
}

function drawThresholds(g, frame, { quantizer }) {
  const [top] = frame.panel("values");
  const [, bottom] = frame.panel("rail");
  let last = -Infinity;
  for (let k = 1; k < quantizer.count; k++) {
    const x = frame.x(quantizer.edge(k));
    if (x < frame.left || x > frame.right || x - last < SHADED_GAP) continue;
    g.line([[x, top], [x, bottom]], g.palette.neutral, 1, [2, 3]);
    last = x;
  }
}

/** Draw the centroids, and below each the mean of its bucket, to which the next step takes it. */
function drawRail(g, frame, { quantizer, means, chosen }) {
  const [top, bottom] = frame.panel("rail");
  const [high, low] = [top + 12, bottom - 12];
  g.line([[frame.left, high + 7], [frame.right, high + 7]], g.palette.neutral, 1);
  g.clip(frame.left - 8, top, frame.right + 8, bottom, () => {
    means.forEach((mean, k) => {
      const x = frame.x(quantizer.level(k));
      if (mean !== null) {
        const to = frame.x(mean);
        g.line([[x, high + 7], [to, low - 5]], g.palette.quantized, 1);
        diamond(g, to, low, 5);
      }
      g.triangle(x, high, k === chosen ? 9 : 7, g.palette.quantized);
    });
  });
}

function diamond(g, x, y, size) {
  const corners = [[x - size, y], [x, y - size], [x + size, y], [x, y + size], [x - size, y], [x, y - size]];
  g.line(corners, g.palette.original, 2);
}

/** Name the marks of the rail at its left. */
function nameRail(g, frame, words) {
  const [top, bottom] = frame.panel("rail");
  for (const [name, y] of [["centroid", top + 12], ["mean", bottom - 12]]) {
    g.text(words[name], frame.left - 12, y, { align: "right", baseline: "middle" });
  }
}

/** Draw everything; what a question asks for stays away while `veiled`. */
function drawBucketFigure(g, frame, scene) {
  g.clear();
  drawCells(g, frame, scene);
  drawValues(g, frame, scene);
  drawThresholds(g, frame, scene);
  drawRail(g, frame, scene);
  nameRail(g, frame, scene.words);
  if (scene.veiled) {
    const [top, bottom] = frame.panel("codes");
    g.text("?", (frame.left + frame.right) / 2, (top + bottom) / 2, { align: "center", baseline: "middle", bold: true });
  } else {
    drawCodes(g, frame, scene);
  }
  valueAxis(g, frame, fill(scene.words.axis, { unit: scene.unit }));
}
