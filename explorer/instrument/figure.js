// The main figure: histogram with buckets, staircase, error and codes above one axis.

const PANELS = { values: [0, 0.42], stairs: [0.475, 0.63], error: [0.68, 0.81], codes: [0.86, 1] };
const PLAIN = { values: [0, 0.9] }; // of a figure with the histogram alone
const MARGIN = { left: 62, right: 10, top: 102, bottom: 40 };
const FEWEST_BINS = 24;
const BIN_WIDTH = 4; // pixels, at least
const THRESHOLD_GAP = 5; // pixels; closer thresholds would merge into grey
const CODEWORD_GAP = 7;
const LABEL_GAP = 24; // pixels between codes that are written out
const STAIR_GAP = 1.5;
const TOWER = 3; // a bin this many times the next highest is cut off and labelled

/** Return the place of a figure's parts on a canvas of this size, and the map from values to pixels. */
function frameOf(width, height, sight, plain) {
  const left = MARGIN.left;
  const right = width - MARGIN.right;
  const top = MARGIN.top;
  const bottom = height - MARGIN.bottom;
  const x = (value) => left + ((value - sight[0]) / (sight[1] - sight[0])) * (right - left);
  const value = (pixel) => sight[0] + ((pixel - left) / (right - left)) * (sight[1] - sight[0]);
  const panels = plain ? PLAIN : PANELS;
  const panel = (name) => panels[name].map((part) => top + part * (bottom - top));
  return { left, right, top, bottom, x, value, panel, sight, plain };
}

/** Return the span of the axis: the data, and the range as far as it reaches one width beyond. */
function wholeSight(stats, lo, hi) {
  const width = stats.greatest - stats.least || Math.abs(stats.greatest) || 1;
  const low = Math.max(Math.min(stats.least, lo), stats.least - width);
  const high = Math.min(Math.max(stats.greatest, hi), stats.greatest + width);
  const pad = 0.03 * (high - low || width);
  return [low - pad, high + pad];
}

/** Draw a vertical axis with a few ticks and its title. */
function verticalAxis(g, frame, name, title, scale, marks, write = markWriter(marks)) {
  const [top, bottom] = frame.panel(name);
  g.line([[frame.left, top], [frame.left, bottom]], g.palette.neutral, 1);
  for (const mark of marks) {
    const y = scale(mark);
    if (y < top - 1 || y > bottom + 1) continue;
    g.line([[frame.left - 4, y], [frame.left, y]], g.palette.neutral, 1);
    g.text(write(mark), frame.left - 7, y, { align: "right", baseline: "middle" });
  }
  g.text(title, 10, (top + bottom) / 2, { align: "center", baseline: "middle", turned: true });
}

/** Draw the axis of values under all panels. */
function valueAxis(g, frame, title) {
  const y = frame.bottom;
  g.line([[frame.left, y], [frame.right, y]], g.palette.neutral, 1);
  const marks = ticks(...frame.sight, (frame.right - frame.left) / 90);
  const write = markWriter(marks);
  for (const mark of marks) {
    const x = frame.x(mark);
    g.line([[x, y], [x, y + 4]], g.palette.neutral, 1);
    g.text(write(mark), x, y + 7, { align: "center", baseline: "top" });
  }
  g.text(title, (frame.left + frame.right) / 2, y + 24, { align: "center", baseline: "top" });
}

/** Return equal bins that do not move when the view is zoomed: each zoom by two halves them. */
function binsInSight(stats, frame) {
  const width = stats.greatest - stats.least || 1;
  const pixels = frame.right - frame.left;
  const fit = (2 ** Math.round(Math.log2(width / (frame.sight[1] - frame.sight[0])))) || 1;
  const most = Math.max(FEWEST_BINS, Math.min(4 * Math.sqrt(stats.size), pixels / BIN_WIDTH));
  const bin = width / Math.max(Math.round(most * Math.max(fit, 2 ** -4)), 1);
  const first = Math.max(Math.floor((frame.sight[0] - stats.least) / bin), 0);
  const last = Math.min(Math.ceil((frame.sight[1] - stats.least) / bin), Math.round(width / bin));
  const from = stats.least + first * bin;
  const bins = Math.max(last - first, 1);
  return { from, bin, counts: histogram(stats, from, from + bins * bin, bins) };
}

/** Draw the histogram, hatched where values are clipped; a tower over one value is cut off and says how high it is. */
function drawValues(g, frame, { stats, quantizer, units, words }) {
  const [top, bottom] = frame.panel("values");
  const { from, bin, counts } = binsInSight(stats, frame);
  const ordered = [...counts].sort((a, b) => b - a);
  const tower = ordered[0] > TOWER * (ordered[1] || 0) && ordered[1] > 0;
  const highest = 1.06 * (tower ? 1.25 * ordered[1] : ordered[0]) || 1;
  const y = (count) => bottom - Math.min(count / highest, 1) * (bottom - top);
  const outline = [[frame.x(from), bottom]];
  counts.forEach((count, i) => {
    outline.push([frame.x(from + i * bin), y(count)], [frame.x(from + (i + 1) * bin), y(count)]);
  });
  outline.push([frame.x(from + counts.length * bin), bottom]);
  const [a, b] = [frame.x(quantizer.lowest), frame.x(quantizer.highest)];
  g.clip(frame.left, top, frame.right, bottom, () => {
    g.clip(a, top - 2, b, bottom, () => g.area(outline, g.palette.original));
    for (const [from, to] of [[frame.left, a], [b, frame.right]]) {
      if (to > from) g.clip(from, top - 2, to, bottom, () => g.area(outline, g.hatched, g.palette.original));
    }
  });
  if (tower) {
    const at = from + (counts.indexOf(ordered[0]) + 0.5) * bin;
    const right = frame.x(at) < frame.right - 90;
    g.text(fill(words.tower, { share: share(ordered[0] / stats.size) }), frame.x(at) + (right ? 8 : -8), top, { align: right ? "left" : "right", baseline: "top" });
  }
  const marks = ticks(0, highest, 4);
  verticalAxis(g, frame, "values", fill(words.bins, { units }), y, marks, highest < 1e5 ? whole : undefined);
}

/** Yield the levels in sight, and one more to either side; of those within one pixel, one. */
function* levelsInSight(frame, quantizer) {
  const [from, to] = frame.sight;
  const last = Math.min(quantizer.place(to) + 1, quantizer.count - 1);
  let k = Math.max(quantizer.place(from) - 1, 0);
  while (k <= last) {
    yield k;
    const pixel = frame.x(quantizer.level(k)) + 1;
    k = Math.max(k + 1, Math.min(quantizer.place(frame.value(pixel)), last));
  }
}

/** Draw thresholds as dotted lines and codewords as triangles; a band where they would merge. */
function drawBuckets(g, frame, { quantizer }) {
  const [top, bottom] = frame.panel("values");
  const base = bottom + 9;
  const inSight = (x) => x >= frame.left && x <= frame.right;
  const inside = (x) => Math.min(Math.max(x, frame.left), frame.right);
  const { level, edge, count } = quantizer;
  const x = (k) => frame.x(level(k));
  for (const k of levelsInSight(frame, quantizer)) {
    const here = x(k);
    const before = k > 0 ? here - x(k - 1) : Infinity;
    const behind = k < count - 1 ? x(k + 1) - here : Infinity;
    if (behind < CODEWORD_GAP) g.line([[inside(here), base], [inside(here + Math.max(behind, 1)), base]], g.palette.quantized, 6);
    if (Math.min(before, behind) >= CODEWORD_GAP && inSight(here)) g.triangle(here, base, 5, g.palette.quantized);
    const threshold = behind < Infinity ? frame.x(edge(k + 1)) : Infinity;
    if (behind >= THRESHOLD_GAP && inSight(threshold)) {
      g.line([[threshold, top], [threshold, bottom]], g.palette.faint, 1, [2, 4]);
    }
  }
}

/** Return corners of r → f(r̃, r) along the staircase, both sides of each threshold; straight where steps are tiny. */
function stairs(frame, quantizer, f) {
  const { lowest, highest, level, edge, place, count } = quantizer;
  const [from, to] = frame.sight;
  const corners = [];
  const add = (r, reconstructed) => corners.push([frame.x(r), f(reconstructed, r)]);
  add(from, level(place(from)));
  if (lowest > from && lowest < to) add(lowest, lowest);
  for (const k of levelsInSight(frame, quantizer)) {
    if (k === count - 1) continue;
    const r = edge(k + 1);
    if (r <= from || r >= to) continue;
    const thin = frame.x(level(k + 1)) - frame.x(level(k)) < STAIR_GAP;
    add(r, thin ? r : level(k));
    if (!thin) add(r, level(k + 1));
  }
  if (highest > from && highest < to) add(highest, highest);
  add(to, level(place(to)));
  return corners;
}

/** Draw r → r̃ against the identity. */
function drawStairs(g, frame, { quantizer, words }) {
  const [top, bottom] = frame.panel("stairs");
  const [from, to] = frame.sight;
  const y = (value) => bottom - ((value - from) / (to - from)) * (bottom - top);
  g.line([[frame.left, bottom], [frame.right, top]], g.palette.neutral, 1, [2, 3]);
  g.line(stairs(frame, quantizer, (level) => Math.min(Math.max(y(level), top), bottom)), g.palette.quantized, 2);
  g.text(words.exact, frame.left + 8, top, { align: "left", baseline: "top" });
  verticalAxis(g, frame, "stairs", "r → r̃", y, ticks(from, to, 3));
}

/** Draw r̃ − r. */
function drawError(g, frame, { quantizer }) {
  const [top, bottom] = frame.panel("error");
  const { lowest, highest, level, count } = quantizer;
  const [from, to] = frame.sight;
  let widest = 0; // half of the widest step in sight
  for (const k of levelsInSight(frame, quantizer)) {
    if (k < count - 1) widest = Math.max(widest, (level(k + 1) - level(k)) / 2);
  }
  const reach = 1.1 * Math.max(widest, lowest - from, to - highest) || 1;
  const y = (value) => (top + bottom) / 2 - (value / reach) * ((bottom - top) / 2);
  const corners = stairs(frame, quantizer, (reconstructed, r) => y(reconstructed - r));
  if (frame.x(2 * widest) - frame.x(0) < STAIR_GAP) {
    const band = [lowest, highest].map((end) => Math.min(Math.max(frame.x(end), frame.left), frame.right));
    const thick = Math.max(y(-widest) - y(widest), 1);
    g.line([[band[0], y(0)], [band[1], y(0)]], g.palette.error, thick);
  }
  g.area([[frame.left, y(0)], ...corners, [frame.right, y(0)]], g.palette.errorFill);
  g.line(corners, g.palette.error, 1.5);
  verticalAxis(g, frame, "error", "r̃ − r", y, ticks(-reach, reach, 3));
}

/** Return where the codes in sight are drawn: pixel, count and how wide; the highest of those within one pixel. */
function codesInSight(frame, { quantizer, result }) {
  const { level, place, count } = quantizer;
  const first = place(frame.sight[0]);
  const last = place(frame.sight[1]);
  const columns = new Map();
  for (let k = first; k <= last; k++) {
    const x = frame.x(level(k));
    if (x < frame.left || x > frame.right) continue;
    const before = k > 0 ? x - frame.x(level(k - 1)) : Infinity;
    const behind = k < count - 1 ? frame.x(level(k + 1)) - x : Infinity;
    const gap = Math.min(before, behind);
    const column = gap >= 1 ? x : Math.round(x);
    const known = columns.get(column);
    if (!known || result.counts[k] > known.count) columns.set(column, { k, count: result.counts[k], gap });
  }
  return columns;
}

/** Draw the share of values in each code, above its codeword; codes thinner than a pixel are drawn as an outline. */
function drawCodes(g, frame, scene) {
  const [top, bottom] = frame.panel("codes");
  const columns = codesInSight(frame, scene);
  const shown = [...columns.values()];
  const most = Math.max(0, ...shown.map(({ count }) => count));
  const labelled = shown.length > 0 && shown.every(({ gap }) => gap >= LABEL_GAP);
  const highest = (labelled ? 1.3 : 1.08) * most || 1;
  const y = (count) => bottom - (count / highest) * (bottom - top);
  const widest = Math.min(0.2 * (frame.right - frame.left), 0.8 * Math.max(...shown.map(({ gap }) => (gap < Infinity ? gap : 1))));
  g.clip(frame.left, top, frame.right, bottom, () => {
    for (const [x, { count, gap }] of columns) {
      const thick = Math.max(Math.min(0.8 * gap, widest), 1);
      g.bar(x - thick / 2, y(count), thick, bottom - y(count), g.palette.quantized);
    }
  });
  for (const [x, { k, count }] of labelled ? columns : []) {
    g.text(scene.quantizer.code(k), x, y(count) - 2, { align: "center", baseline: "bottom" });
  }
  const { size } = scene.stats;
  verticalAxis(g, frame, "codes", scene.words.share, (part) => y((part * size) / 100), ticks(0, (100 * highest) / size, 3));
}

/** Draw the range's ends through the histogram; the handles above them are elements of their own. */
function drawRange(g, frame, { quantizer, setting }) {
  if (setting.fixed) return;
  const [, bottom] = frame.panel("values");
  for (const value of [setting.symmetric && setting.signed ? -quantizer.highest : setting.lo, setting.hi]) {
    const x = frame.x(value);
    if (x >= frame.left - 1 && x <= frame.right + 1) g.line([[x, frame.top - 8], [x, bottom]], g.palette.quantized, 2);
  }
}

/** Draw everything. */
function drawFigure(g, frame, scene) {
  g.clear();
  drawValues(g, frame, scene);
  drawBuckets(g, frame, scene);
  if (!frame.plain) {
    drawStairs(g, frame, scene);
    drawError(g, frame, scene);
    drawCodes(g, frame, scene);
  }
  drawRange(g, frame, scene);
  valueAxis(g, frame, fill(scene.words.axis, { unit: scene.unit }));
}
