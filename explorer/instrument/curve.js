// Error against clipping value: a curve for each width of integers and for the format chosen, the way to the optimum.

const CURVE_POINTS = 72;
const CURVE_END = 1.05; // of the greatest magnitude
const CURVE_START = 0.12; // of it, or this many standard deviations if that is less:
const CURVE_START_SIGMAS = 1;
const LOGARITHMIC_FROM = 12; // times the start, where the axis of β becomes logarithmic
const MARK_ROOM = 40; // pixels from a number under the axis to the next
const CURVE_MARGIN = { left: 56, right: 52, top: 26, bottom: 42 };
const CURVE_LABEL_GAP = 14; // pixels

/** Return how far the greatest magnitude of the range reaches, with the range that goes with a share of it. */
function shrinking(stats, setting) {
  const low = Math.min(stats.least, 0);
  const high = Math.max(stats.greatest, 0);
  if (setting.symmetric) {
    const reach = Math.max(-low, high);
    return { reach, range: (clip) => [setting.signed ? -clip : 0, clip] };
  }
  const reach = high || -low;
  return { reach, range: (clip) => [(low * clip) / reach, (high * clip) / reach] };
}

/** Return the error of every clipping value under one format, and where it is least. */
function errorCurve(stats, setting) {
  const { reach, range } = shrinking(stats, setting);
  const start = Math.min(CURVE_START * reach, CURVE_START_SIGMAS * stats.sigma || reach);
  const errorAt = (clip) => {
    const [lo, hi] = range(clip);
    return evaluate(stats, quantizerOf({ ...setting, scale: null, lo, hi })).mse;
  };
  const clips = Float64Array.from(
    { length: CURVE_POINTS },
    (_, i) => start * ((CURVE_END * reach) / start) ** (i / (CURVE_POINTS - 1)),
  );
  const errors = clips.map(errorAt);
  let best = errors.indexOf(Math.min(...errors));
  let [a, b] = [clips[Math.max(best - 1, 0)], clips[Math.min(best + 1, clips.length - 1)]];
  for (let i = 0; i < 12; i++) {
    const [c, d] = [b - (b - a) * 0.618, a + (b - a) * 0.618];
    if (errorAt(c) < errorAt(d)) b = d;
    else a = c;
  }
  const clip = (a + b) / 2;
  const error = errorAt(clip);
  return error < errors[best] ? { clips, errors, clip, error } : { clips, errors, clip: clips[best], error: errors[best] };
}

/** Return the curves of several widths of integers, and that of the chosen format if it has a range. */
function errorCurves(stats, setting, widths, width) {
  if (stats.least === 0 && stats.greatest === 0) return [];
  const whole = !setting.fixed && !setting.levels;
  const integers = whole ? setting : { ...setting, levels: null, narrow: false };
  const all = [...new Set(whole ? [...widths, setting.bits] : widths)].sort((a, b) => a - b);
  const curves = all.map((bits) => ({
    name: fill(width, { n: bits }),
    chosen: whole && bits === setting.bits,
    ...errorCurve(stats, { ...integers, bits }),
  }));
  if (!whole && !setting.fixed) curves.push({ name: setting.name, chosen: true, ...errorCurve(stats, setting) });
  return curves;
}

/** Return the maps from clipping value and error to pixels. */
function curveFrame(g, curves, now) {
  const { left, top } = CURVE_MARGIN;
  const [right, bottom] = [g.width - CURVE_MARGIN.right, g.height - CURVE_MARGIN.bottom];
  const clips = curves[0].clips;
  const [least, greatest] = [clips[0], clips[clips.length - 1]];
  const logarithmic = greatest > LOGARITHMIC_FROM * least;
  const along = logarithmic ? Math.log10 : (clip) => clip;
  const from = logarithmic ? along(least) : 0;
  const to = along(greatest);
  const errors = [now, ...curves.flatMap((curve) => [...curve.errors, curve.error])].filter((error) => error > 0);
  const [low, high] = [Math.log10(Math.min(...errors)) - 0.15, Math.log10(Math.max(...errors)) + 0.15];
  return {
    left, right, top, bottom, logarithmic, least, greatest, low, high,
    x: (clip) => left + ((along(clip) - from) / (to - from)) * (right - left),
    y: (error) => bottom - ((Math.log10(error) - low) / (high - low)) * (bottom - top),
    clip(pixel) {
      const part = from + ((pixel - left) / (right - left)) * (to - from);
      return Math.min(Math.max(logarithmic ? 10 ** part : part, least / 2), greatest);
    },
  };
}

/** Draw both axes, and multiples of the standard deviation along the top. */
function drawCurveAxes(g, frame, sigma, title) {
  const { left, right, top, bottom } = frame;
  g.line([[left, top], [left, bottom], [right, bottom]], g.palette.neutral, 1);
  const decades = ticks(Math.ceil(frame.low), Math.floor(frame.high), 6).filter(Number.isInteger);
  for (const decade of decades) {
    const y = frame.y(10 ** decade);
    g.line([[left - 4, y], [left, y]], g.palette.neutral, 1);
    g.text(`10${superscript(decade)}`, left - 7, y, { align: "right", baseline: "middle" });
  }
  if (decades.length < 2) {
    for (const error of [10 ** frame.low, 10 ** frame.high]) {
      const y = frame.y(error);
      g.text(short(error, 2), left - 7, y, { align: "right", baseline: "middle" });
    }
  }
  const powers = [];
  for (let k = Math.ceil(Math.log10(frame.least)); k <= Math.log10(frame.greatest); k++) powers.push(10 ** k);
  const marks = frame.logarithmic ? powers.flatMap((p) => [p, 3 * p]) : ticks(0, frame.greatest, Math.min(4, (right - left) / MARK_ROOM));
  const inSight = marks.filter((m) => m <= frame.greatest && m >= (frame.logarithmic ? frame.least : 0));
  const write = markWriter(inSight);
  let before = -Infinity;
  for (const mark of inSight) {
    const x = frame.x(mark);
    if (x - before < MARK_ROOM) continue;
    before = x;
    g.line([[x, bottom], [x, bottom + 4]], g.palette.neutral, 1);
    g.text(write(mark), x, bottom + 7, { align: "center", baseline: "top" });
  }
  let last = -Infinity;
  const reach = sigma > 0 ? Math.floor(frame.greatest / sigma) : 0;
  const stride = frame.logarithmic ? 0 : Math.max(1, Math.ceil(reach / 6));
  const multiples = stride ? Array.from({ length: Math.floor(reach / stride) }, (_, i) => (i + 1) * stride) : [1, 2, 4, 8, 16, 32, 64, 128];
  for (const multiple of multiples) {
    const x = frame.x(multiple * sigma);
    if (!sigma || multiple * sigma > frame.greatest || x < left || x - last < 26) continue;
    g.text(`${multiple}σ`, x, top - 6, { align: "center", baseline: "bottom", color: g.palette.neutral });
    last = x;
  }
  g.text(title, (left + right) / 2, bottom + 24, { align: "center", baseline: "top" });
  g.text("MSE", 10, (top + bottom) / 2, { align: "center", baseline: "middle", turned: true });
}

/** Draw the curves, the optimum of each, and where the present setting lies. */
function drawCurves(g, curves, scene) {
  g.clear();
  if (!curves.length) return null;
  const { setting, stats, result } = scene;
  const frame = curveFrame(g, curves, setting.fixed ? result.mse : 0);
  drawCurveAxes(g, frame, stats.sigma, scene.words.curve);
  const named = [];
  const chosenLast = [...curves].sort((a, b) => a.chosen - b.chosen);
  g.clip(frame.left, frame.top - 2, frame.right + 4, frame.bottom, () => {
    for (const curve of chosenLast) {
      const color = curve.chosen ? g.palette.quantized : g.palette.neutral;
      const points = [...curve.clips].map((clip, i) => [frame.x(clip), frame.y(curve.errors[i])]);
      g.line(points.filter(([, y]) => Number.isFinite(y)), color, curve.chosen ? 3 : 1.3);
      if (curve.error > 0) {
        g.dot(frame.x(curve.clip), frame.y(curve.error), curve.chosen ? 5 : 3.5, curve.chosen ? color : null, color);
      }
    }
    const beta = setting.symmetric ? Math.max(-setting.lo, setting.hi) : setting.hi;
    if (!setting.fixed && result.mse > 0 && beta > 0) g.cross(frame.x(beta), frame.y(result.mse), 5, g.palette.original);
  });
  const label = (words, y, chosen) => {
    if (named.some((other) => Math.abs(other - y) < CURVE_LABEL_GAP)) return;
    named.push(y);
    const color = chosen ? g.palette.quantized : g.palette.neutral;
    g.text(words, frame.right + 6, y, { baseline: "middle", color, bold: chosen });
  };
  if (setting.fixed && result.mse > 0) drawWithoutRange(g, frame, setting, result, label);
  for (const { name, chosen, errors } of chosenLast.reverse()) {
    const end = errors[errors.length - 1];
    if (end > 0) label(name, frame.y(end), chosen);
  }
  return frame;
}

/** Draw the error of a format that has no range to choose: the same at every clipping value. */
function drawWithoutRange(g, frame, setting, result, label) {
  const y = frame.y(result.mse);
  g.line([[frame.left, y], [frame.right, y]], g.palette.quantized, 3, [8, 4]);
  label(setting.name, y, true);
}
