// Statistics of a tensor, and what a scalar quantizer does to it: the same rules as the engine's, in the browser.
//
// A tensor arrives as runs of neighbouring values: count, mean and variance of each, taken as evenly spread. Small
// tensors arrive value by value, and every answer for them is exact.

const COLUMNS = 3; // count, sum, sum of squares
const FLOAT32_ROUNDINGS = 2 ** -22; // relative, of a scale and a level: a value so little beyond the last level is not clipped

/** Read what packing.py wrote: the length of a JSON header, the header, and the runs. */
function unpack(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 4 + view.getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)));
  return { header, payload: bytes.slice(start).buffer };
}

/** Return the runs of a payload with the sums of all runs before each; `values` says that every run is one value. */
function statistics(payload, values) {
  const runs = values ? payload.byteLength / 4 : payload.byteLength / 12;
  const counts = values ? null : new Uint32Array(payload, 0, runs);
  const means = new Float32Array(payload, values ? 0 : 4 * runs, runs);
  const variances = values ? null : new Float32Array(payload, 8 * runs, runs);
  const low = new Float64Array(runs);
  const high = new Float64Array(runs);
  const reached = new Float64Array(runs); // the highest point of this run and those before it
  const before = new Float64Array(COLUMNS * (runs + 1));
  for (let i = 0, at = 0; i < runs; i++, at += COLUMNS) {
    const count = counts ? counts[i] : 1;
    const mean = means[i];
    const variance = variances ? variances[i] : 0;
    const reach = Math.sqrt(3 * variance);
    low[i] = mean - reach;
    high[i] = mean + reach;
    reached[i] = i ? Math.max(high[i], reached[i - 1]) : high[i];
    before[at + 3] = before[at] + count;
    before[at + 4] = before[at + 1] + count * mean;
    before[at + 5] = before[at + 2] + count * (mean * mean + variance);
  }
  const begun = low.slice(); // the lowest point of this run and those behind it
  for (let i = runs - 2; i >= 0; i--) begun[i] = Math.min(begun[i], begun[i + 1]);
  const [size, total, square] = before.subarray(COLUMNS * runs);
  const mean = total / size;
  return {
    low, high, reached, begun, before, runs, size,
    least: begun[0],
    greatest: reached[runs - 1],
    power: square / size,
    sigma: Math.sqrt(Math.max(square / size - mean * mean, 0)),
  };
}

/** Return the first run from `from` on that reaches up to `limit` or beyond. */
function firstReaching(reached, limit, from) {
  let step = 1;
  let end = from;
  while (end < reached.length && reached[end] < limit) {
    from = end + 1;
    end += step;
    step *= 2;
  }
  end = Math.min(end, reached.length);
  while (from < end) {
    const middle = (from + end) >> 1;
    if (reached[middle] < limit) from = middle + 1;
    else end = middle;
  }
  return from;
}

/** Return count, sum and sum of squares of the values below each of the ascending limits, and last of all values. */
function sumsBelow(stats, limits) {
  const { low, high, reached, begun, before, runs } = stats;
  const sums = new Float64Array(COLUMNS * (limits.length + 1));
  let run = 0;
  for (let k = 0, to = 0; k < limits.length; k++, to += COLUMNS) {
    const limit = limits[k];
    run = firstReaching(reached, limit, run);
    const at = COLUMNS * run;
    let count = before[at];
    let total = before[at + 1];
    let square = before[at + 2];
    for (let i = run; i < runs && begun[i] < limit; i++) { // runs may overlap a little
      const a = low[i];
      if (a >= limit) continue;
      const end = Math.min(limit, high[i]);
      const part = (before[COLUMNS * i + 3] - before[COLUMNS * i]) * (high[i] > a ? (end - a) / (high[i] - a) : 1);
      count += part;
      total += (part * (a + end)) / 2;
      square += (part * (a * a + a * end + end * end)) / 3;
    }
    sums[to] = count;
    sums[to + 1] = total;
    sums[to + 2] = square;
  }
  sums.set(before.subarray(COLUMNS * stats.runs), COLUMNS * limits.length);
  return sums;
}

/** Round to the nearest whole number, half to even. */
function roundEven(x) {
  const nearest = Math.round(x);
  return Math.abs(x % 1) === 0.5 && nearest % 2 !== 0 ? nearest - 1 : nearest;
}

/** Return the quantizer of a setting: its levels in order, the edges between them, and what codes are called. */
function quantizerOf(setting) {
  return setting.levels ? listed(setting) : affine(setting);
}

/** Return integers of equal steps: asymmetric ranges are widened to hold 0. A `scale` that is known takes none. */
function affine({ bits, signed, narrow, symmetric, lo, hi, scale: known }) {
  const qmin = signed ? -(2 ** (bits - 1)) + (narrow ? 1 : 0) : 0;
  const qmax = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  const a = Math.min(lo, 0);
  const b = Math.max(hi, 0);
  const wide = known ?? (symmetric ? Math.max(-a, b) / qmax : (b - a) / (qmax - qmin));
  const scale = Math.fround(wide) || 1;
  const zero = symmetric ? 0 : Math.min(Math.max(roundEven(qmin - a / (wide || 1)), qmin), qmax);
  const count = qmax - qmin + 1;
  return {
    count, scale, zero,
    lowest: Math.fround((qmin - zero) * scale),
    highest: Math.fround((qmax - zero) * scale),
    level: (k) => (qmin - zero + k) * scale,
    edge: (k) => (qmin - zero + k - 0.5) * scale,
    place: (r) => Math.min(Math.max(roundEven(r / scale) + zero, qmin), qmax) - qmin,
    code: (k) => short(qmin + k),
  };
}

/** Return any ascending levels, which a `peak` scales so that it lies on the range; without one they stand as they are. */
function listed({ levels, peak, lo, hi, scale: known }) {
  const scale = known ?? (peak ? Math.fround(Math.max(-lo, hi) / peak) || 1 : 1);
  const count = levels.length;
  const edge = (k) => ((levels[k - 1] + levels[k]) / 2) * scale;
  return {
    count, scale, edge,
    zero: 0,
    lowest: Math.fround(levels[0] * scale),
    highest: Math.fround(levels[count - 1] * scale),
    level: (k) => levels[k] * scale,
    place(r) {
      let [from, to] = [0, count - 1]; // the last level whose edge is below r
      while (from < to) {
        const middle = (from + to + 1) >> 1;
        if (r > edge(middle)) from = middle;
        else to = middle - 1;
      }
      return from;
    },
    code: (k) => short(k),
  };
}

/** Return the squared error of the values between two rows of sums, each taken to one level. */
function squaredError(sums, from, to, level) {
  const f = COLUMNS * from;
  const t = COLUMNS * to;
  const count = sums[t] - (from < 0 ? 0 : sums[f]);
  const total = sums[t + 1] - (from < 0 ? 0 : sums[f + 1]);
  const square = sums[t + 2] - (from < 0 ? 0 : sums[f + 2]);
  return square - 2 * level * total + level * level * count;
}

/** Return the thresholds between the levels of a quantizer, with the bounds of clipping in front and behind. */
function limitsOf({ count, edge, lowest, highest }) {
  const limits = new Float64Array(count + 1);
  const bound = (level, side) => Math.fround(level + side * Math.abs(level) * FLOAT32_ROUNDINGS);
  limits[0] = bound(lowest, -1);
  for (let k = 1; k < count; k++) limits[k] = edge(k);
  limits[count] = bound(highest, 1) + Math.abs(highest) * 2 ** -30; // a value on the bound is not clipped either
  return limits;
}

/** Return what a quantizer does to the values: count in each code, and the error split into rounding and clipping. */
function evaluate(stats, quantizer) {
  const levels = quantizer.count;
  const sums = sumsBelow(stats, limitsOf(quantizer));
  const last = levels + 1;
  const counts = new Float64Array(levels);
  let error = 0;
  let used = 0;
  for (let k = 0; k < levels; k++) {
    const from = k ? k : -1;
    const to = k < levels - 1 ? k + 1 : last;
    counts[k] = sums[COLUMNS * to] - (k ? sums[COLUMNS * from] : 0);
    used += counts[k] >= 0.5 ? 1 : 0;
    error += squaredError(sums, from, to, quantizer.level(k));
  }
  const below = squaredError(sums, -1, 0, quantizer.lowest);
  const above = squaredError(sums, levels, last, quantizer.highest);
  const clipped = sums[0] + (sums[COLUMNS * last] - sums[COLUMNS * levels]);
  const mse = Math.max(error, 0) / stats.size;
  const clipping = Math.min(Math.max(below + above, 0) / stats.size, mse);
  return {
    counts, used, mse, clipping,
    rounding: mse - clipping,
    clippedShare: clipped / stats.size,
    sqnr: mse > 0 ? 10 * Math.log10(stats.power / mse) : Infinity,
  };
}

/** Return how many values lie in each of `bins` equal bins from `from` to `to`. */
function histogram(stats, from, to, bins) {
  const edges = Float64Array.from({ length: bins + 1 }, (_, i) => from + ((to - from) * i) / bins);
  edges[bins] += (to - from) * 1e-9; // the greatest value belongs to the last bin
  const sums = sumsBelow(stats, edges);
  return Float64Array.from({ length: bins }, (_, i) => sums[COLUMNS * (i + 1)] - sums[COLUMNS * i]);
}
