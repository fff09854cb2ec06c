// The hand on the figure: handles, snapping, bits, zoom, keyboard. Everything answers in the browser; letting go tells
// the server, which confirms with exact numbers.

const SNAP = 7; // pixels
const MARK_ROWS = 3;
const MARK_HEIGHT = 24;  // as high as a target must be
const LEAST_CLIP = 1e-3; // of the greatest magnitude
const FINE = 0.1; // with shift
const KEY_STEP = 1 / 200; // of the axis
const LETTING_GO = 350; // milliseconds without a key
const CONFIRMATION = 4000; // milliseconds in which older answers of the server are passed over

/** Say whether two names meet. */
const meet = (one, other) => one.row === other.row && one.left < other.right && other.left < one.right;

/** Say whether the stem of one name, which goes down from its row, passes through the other. */
const passes = (one, other) => one.row > other.row && other.left < one.x && one.x < other.right;

/** One mounted instrument. */
class Instrument {
  constructor(root) {
    this.root = root.querySelector(".instrument");
    this.canvas = root.querySelector("canvas.values");
    this.curve = root.querySelector("canvas.curve");
    this.marks = root.querySelector(".marks");
    this.handles = Object.fromEntries([...root.querySelectorAll(".handle")].map((h) => [h.dataset.end, h]));
    this.announcement = root.querySelector(".announce");
    this.readout = root.querySelector(".readout");
    this.numbers = Object.fromEntries([...root.querySelectorAll("[data-number]")].map((e) => [e.dataset.number, e]));
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.canvas);
    this.listen();
  }

  /** Take what the server says; while a hand is on a handle, or its last move is unanswered, the setting is the hand's. */
  receive(bytes, send) {
    this.send = send;
    const { header, payload } = unpack(bytes);
    if (this.header?.digest !== header.digest) {
      this.stats = statistics(payload, header.values);
      this.curves = null;
      this.zoom = null;
      this.pending = null;
      this.drag = null;
    }
    this.header = header;
    speak(header.language);
    for (const e of this.root.querySelectorAll("[data-label]")) e.setAttribute("aria-label", header.words[e.dataset.label]);
    for (const e of this.root.querySelectorAll("[data-text]")) e.textContent = header.words[e.dataset.text];
    const asked = header.setting;
    if (header.answered === this.pending?.id || performance.now() > this.pending?.until) this.pending = null;
    if ((!this.drag && !this.pending) || asked.fixed) {
      this.setting = { ...asked };
    } else {
      const { lo, hi, bits } = this.setting;
      this.setting = { ...asked, lo, hi, bits, scale: null };
    }
    this.canvas.setAttribute("aria-label", header.alt);
    this.curve.setAttribute("aria-label", header.curve_alt);
    this.root.querySelector(".hint").textContent = header.hint;
    this.root.querySelector(".under").textContent = header.note;
    this.root.classList.toggle("veiled", header.veiled);
    this.root.classList.toggle("plain", header.plain);
    this.root.classList.toggle("compact", header.compact);
    for (const [name, color] of Object.entries(header.palette)) {
      this.root.style.setProperty(`--${name.toLowerCase()}`, color);
    }
    this.draw();
    this.canvas.dataset.shows = JSON.stringify(asked);
  }

  release() {
    this.observer.disconnect();
    cancelAnimationFrame(this.requested);
    clearTimeout(this.waiting);
  }

  redraw() {
    cancelAnimationFrame(this.requested);
    this.requested = requestAnimationFrame(() => this.draw());
  }

  draw() {
    if (!this.stats || !this.canvas.clientWidth) return;
    const { setting, stats, header } = this;
    const quantizer = quantizerOf(setting);
    const result = { ...evaluate(stats, quantizer), ...setting.exact };
    const scene = { stats, setting, quantizer, result, unit: header.unit, units: header.units, words: header.words };
    this.quantizer = quantizer;
    this.result = result;
    const sight = this.zoom ?? (this.drag ? this.frame.sight : this.all());
    const g = pen(this.canvas, header.palette);
    this.frame = frameOf(g.width, g.height, sight, header.plain);
    drawFigure(g, this.frame, scene);
    this.placeMarks(g);
    this.placeHandles();
    this.showNumbers();
    this.drawCurve(scene);
    this.root.querySelector(".bits").textContent = setting.name ?? fill(this.header.words.width, { n: setting.bits });
    for (const button of this.root.querySelectorAll("[data-bits]")) {
      const next = setting.bits + Number(button.dataset.bits);
      button.toggleAttribute("disabled", next < this.header.bits[0] || next > this.header.bits[1]);
    }
  }

  /** Return the span of the axis without zoom; levels that were thinned out do not widen it. */
  all() {
    const { stats, quantizer, setting } = this;
    return setting.thinned ? wholeSight(stats, stats.least, stats.greatest) : wholeSight(stats, quantizer.lowest, quantizer.highest);
  }

  drawCurve(scene) {
    if (this.header.veiled || this.header.compact) return;
    const { symmetric, signed, narrow, bits, name } = this.setting;
    const { widths, words } = this.header;
    const key = [symmetric, signed, narrow, bits, name, words.width].join();
    if (!this.curves || this.curves.key !== key) {
      this.curves = { key, all: errorCurves(this.stats, this.setting, widths, words.width) };
    }
    this.curveFrame = drawCurves(pen(this.curve, this.header.palette), this.curves.all, scene);
  }

  showNumbers() {
    const { result, quantizer, numbers, setting } = this;
    const { words } = this.header;
    const clipping = result.mse > 0 ? result.clipping / result.mse : 0;
    const say = {
      mse: short(result.mse),
      split: fill(words.split, { rounding: (100 * (1 - clipping)).toFixed(0), clipping: (100 * clipping).toFixed(0) }),
      sqnr: result.mse > 0 && Number.isFinite(result.sqnr) ? `${fixed(result.sqnr, 1)} dB` : "∞ dB",
      clipped: fill(words.clipped, { share: share(result.clippedShare) }),
      used: fill(words.of, { n: whole(result.used), total: whole(result.total ?? quantizer.count) }),
      step: setting.fixed && setting.levels ? "" : `S = ${short(quantizer.scale)}`,
    };
    const veiled = ["mse", "split", "sqnr", "used"];
    for (const [name, text] of Object.entries(say)) {
      numbers[name].textContent = this.header.veiled && veiled.includes(name) ? "?" : text;
    }
    const [rounding, clipped] = this.root.querySelectorAll(".split i");
    rounding.style.width = `${100 * (1 - clipping)}%`;
    clipped.style.width = `${100 * clipping}%`;
  }

  /** Name every calibrator above its β, in rows that keep names apart from each other and, if there is room, from stems. */
  placeMarks(g) {
    const { header, frame } = this;
    const placed = [];
    const focused = this.marks.querySelector(":focus")?.textContent; // the one made anew in its place has it next
    this.marks.replaceChildren();
    const inSight = header.marks.filter((mark) => mark.hi > frame.sight[0] && mark.hi < frame.sight[1]);
    for (const mark of inSight.sort((a, b) => b.hi - a.hi)) {
      const x = frame.x(mark.hi);
      const wide = g.wide(header.labels[mark.name]) + 10;
      const clamp = (left) => Math.min(Math.max(left, 0), g.width - wide);
      const spots = [...Array(MARK_ROWS).keys()].flatMap((row) =>
        [x - 5, x - wide / 2, x + 5 - wide].map((left) => ({ x, row, left: clamp(left), right: clamp(left) + wide })));
      const free = spots.filter((one) => !placed.some((other) => meet(one, other)));
      const spot = free.find((one) => !placed.some((other) => passes(one, other) || passes(other, one))) ?? free[0];
      if (!spot) continue;
      placed.push(spot);
      const { row, left } = spot;
      const top = (MARK_ROWS - 1 - row) * MARK_HEIGHT;
      for (const at of new Set([mark.hi, mark.lo])) {
        const place = frame.x(at);
        if (place < frame.left) continue;
        g.line([[place, at === mark.hi ? top + MARK_HEIGHT : frame.top - 10], [place, frame.top]], g.palette.neutral, 1);
      }
      const button = document.createElement("button");
      button.textContent = header.labels[mark.name];
      button.style.left = `${left}px`;
      button.style.top = `${top}px`;
      button.setAttribute("aria-pressed", mark.lo === this.setting.lo && mark.hi === this.setting.hi);
      button.setAttribute("aria-label", fill(header.words.mark, { name: header.labels[mark.name], beta: short(mark.hi) }));
      button.onclick = () => {
        Object.assign(this.setting, { lo: mark.lo, hi: mark.hi, scale: null });
        this.commit(mark.method);
      };
      this.marks.append(button);
      if (button.textContent === focused) button.focus({ preventScroll: true });
    }
  }

  placeHandles() {
    const { frame, setting, header, result } = this;
    for (const [end, handle] of Object.entries(this.handles)) {
      const value = setting[end];
      const x = frame.x(value);
      const seen = !setting.fixed && x >= frame.left - 1 && x <= frame.right + 1 && !(end === "lo" && setting.symmetric && !setting.signed);
      handle.style.display = seen ? "" : "none";
      handle.style.left = `${x}px`;
      handle.style.height = `${frame.panel("values")[1] - 56}px`;
      const part = (x - frame.left) / (frame.right - frame.left);
      const outward = end === "lo" ? "left" : "right";
      const inward = end === "lo" ? "right" : "left";
      handle.dataset.out = part > 0.2 && part < 0.8 ? outward : inward;
      handle.firstElementChild.textContent = `${end === "lo" ? "α" : "β"} = ${short(value)}`;
      handle.setAttribute("aria-valuemin", String(Math.min(this.stats.least, 0)));
      handle.setAttribute("aria-valuemax", String(Math.max(this.stats.greatest, 0)));
      handle.setAttribute("aria-valuenow", String(value));
      const told = fill(header.words.at, { value: short(value), mse: short(result.mse) });
      handle.setAttribute("aria-valuetext", header.veiled ? short(value) : told);
    }
  }

  /** Move one end of the range, both if symmetric, to a value or to the calibrator it comes near. */
  move(end, value, snap) {
    const { setting, stats, frame, header } = this;
    const least = LEAST_CLIP * Math.max(-stats.least, stats.greatest) || LEAST_CLIP;
    const x = frame.x(value);
    const near = snap && header.marks.find((mark) => Math.abs(frame.x(mark[end]) - x) < SNAP);
    if (near) value = near[end];
    setting.scale = null; // it follows the range until the server says how it is rounded
    if (setting.symmetric) {
      const clip = Math.max(end === "lo" ? -value : value, least);
      setting.hi = clip;
      setting.lo = setting.signed ? -clip : 0;
    } else if (end === "lo") {
      setting.lo = Math.min(value, 0, setting.hi - least);
    } else {
      setting.hi = Math.max(value, 0, setting.lo + least);
    }
    this.redraw();
  }

  /** Tell the server the range that is set now, and whose it is if a calibrator's. */
  commit(method) {
    const { lo, hi, bits } = this.setting;
    const snapped = this.header.marks.find((mark) => mark.lo === lo && mark.hi === hi);
    this.drag = null;
    this.expect();
    this.redraw();
    this.tell({ bits, range: [lo, hi], method: method ?? snapped?.method ?? null });
  }

  /** Expect the server's answer; until it comes, its older ones do not move the handles. */
  expect() {
    this.pending = { id: performance.timeOrigin + performance.now(), until: performance.now() + CONFIRMATION };
  }

  tell(move) {
    const { bits, lo, hi } = this.setting;
    const { mse } = evaluate(this.stats, quantizerOf(this.setting));
    const { words, veiled } = this.header;
    const name = this.setting.name ?? fill(words.width, { n: bits });
    const told = { name, lo: short(lo), hi: short(hi), mse: short(mse) };
    this.announcement.textContent = fill(veiled ? words.now : words.now_error, told);
    this.send("commit", { id: this.pending?.id ?? 0, ...move });
  }

  listen() {
    for (const [end, handle] of Object.entries(this.handles)) {
      handle.onpointerdown = (event) => {
        handle.setPointerCapture(event.pointerId);
        this.drag = { end, before: { ...this.setting }, off: event.clientX - this.clientX(this.setting[end]) };
      };
      handle.onpointermove = (event) => {
        if (this.drag?.end === end) this.move(end, this.valueAt(event.clientX - this.drag.off), !event.altKey);
      };
      handle.onpointerup = () => this.drag && this.letGo();
      handle.onpointercancel = () => this.cancel();
      handle.onkeydown = (event) => this.key(event, end);
      handle.onblur = () => this.waiting && this.letGo();
    }
    for (const button of this.root.querySelectorAll("[data-bits]")) {
      button.onclick = () => {
        this.setting.bits = Math.min(Math.max(this.setting.bits + Number(button.dataset.bits), this.header.bits[0]), this.header.bits[1]);
        this.setting.scale = null;
        this.expect();
        this.wait(() => this.tell({ bits: this.setting.bits, range: null, method: null }));
        this.redraw();
      };
    }
    for (const button of this.root.querySelectorAll("[data-zoom]")) {
      button.onclick = () => this.zoomBy(Number(button.dataset.zoom));
    }
    this.listenToFigure();
    this.listenToCurve();
  }

  listenToFigure() {
    this.canvas.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomBy(2 ** (-event.deltaY / 200), this.valueAt(event.clientX));
    };
    this.canvas.ondblclick = () => this.zoomBy(0);
    this.canvas.onpointerdown = (event) => {
      if (this.zoom) this.pan = { x: pixelOf(this.canvas, event.clientX), zoom: this.zoom };
    };
    this.canvas.onpointermove = (event) => {
      if (this.pan && event.buttons) {
        const [from, to] = this.pan.zoom;
        const shift = ((this.pan.x - pixelOf(this.canvas, event.clientX)) * (to - from)) / (this.frame.right - this.frame.left);
        this.zoom = [from + shift, to + shift];
        this.redraw();
      }
      this.read(this.valueAt(event.clientX));
    };
    this.canvas.onpointerup = () => (this.pan = null);
    this.canvas.onpointerleave = () => (this.readout.textContent = "");
  }

  listenToCurve() {
    const follow = (event) => {
      if (!this.curveFrame) return;
      const clip = this.curveFrame.clip(pixelOf(this.curve, event.clientX));
      const [lo, hi] = shrinking(this.stats, this.setting).range(clip);
      Object.assign(this.setting, { lo, hi, scale: null });
      this.redraw();
    };
    this.curve.onpointerdown = (event) => {
      if (this.setting.fixed) return;
      this.curve.setPointerCapture(event.pointerId);
      this.drag = { end: "curve", before: { ...this.setting } };
      follow(event);
    };
    this.curve.onpointermove = (event) => this.drag?.end === "curve" && follow(event);
    this.curve.onpointerup = () => this.drag && this.letGo();
    this.curve.onpointercancel = () => this.cancel();
  }

  /** Move a handle by the keys of a slider; escape takes the last moves back. */
  key(event, end) {
    const { frame, setting, stats } = this;
    const step = (frame.sight[1] - frame.sight[0]) * KEY_STEP * (event.shiftKey ? FINE : 1);
    const extreme = end === "lo" ? Math.min(stats.least, 0) : Math.max(stats.greatest, 0);
    const moves = {
      ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step,
      PageDown: -10 * step, PageUp: 10 * step,
    };
    if (event.key === "Escape" && this.drag) {
      event.preventDefault();
      this.cancel();
    } else if (event.key in moves || event.key === "Home" || event.key === "End") {
      event.preventDefault();
      this.drag ??= { end, before: { ...setting } };
      const inward = event.key === (end === "lo" ? "End" : "Home");
      this.move(end, event.key in moves ? setting[end] + moves[event.key] : inward ? 0 : extreme, false);
      this.wait(() => this.letGo());
    } else if (event.key === "Enter" && this.drag) {
      this.letGo();
    }
  }

  wait(then) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(then, LETTING_GO);
  }

  letGo() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const { before } = this.drag ?? {};
    if (before && same(before, this.setting)) {
      this.drag = null;
      this.redraw();
    } else {
      this.commit();
    }
  }

  cancel() {
    clearTimeout(this.waiting);
    this.waiting = null;
    if (this.drag) this.setting = this.drag.before;
    this.drag = null;
    this.redraw();
  }

  /** Zoom by a factor about a value, or to the middle of the range; 0 shows all. */
  zoomBy(factor, about) {
    const { lowest, highest } = this.quantizer;
    const all = this.all();
    const [from, to] = this.frame.sight;
    const width = (to - from) / factor;
    if (factor === 0 || width >= all[1] - all[0]) {
      this.zoom = null;
    } else {
      const left = about === undefined ? (lowest + highest - width) / 2 : about - (about - from) / factor;
      this.zoom = [left, left + width];
    }
    this.redraw();
  }

  /** Say what happens to the value under the pointer. */
  read(value) {
    const { quantizer } = this;
    if (value < this.frame.sight[0] || value > this.frame.sight[1]) return;
    const place = quantizer.place(value);
    const level = quantizer.level(place);
    const { read, read_code } = this.header.words;
    const told = { r: short(value), code: quantizer.code(place), level: short(level), error: short(level - value) };
    this.readout.textContent = fill(this.setting.thinned ? read : read_code, told);
  }

  clientX(value) {
    return this.canvas.getBoundingClientRect().left + this.frame.x(value) * zoomOf(this.canvas);
  }

  valueAt(clientX) {
    return this.frame.value(pixelOf(this.canvas, clientX));
  }
}

/** Say whether a setting is what was asked for, up to how numbers travel. */
function same(asked, setting) {
  return Object.entries(asked).every(([name, value]) => {
    const other = setting[name];
    return value === other || Math.abs(value - other) <= 1e-6 * Math.max(Math.abs(value), Math.abs(other));
  });
}

const mounted = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!mounted.has(parentElement)) mounted.set(parentElement, new Instrument(parentElement));
  const instrument = mounted.get(parentElement);
  instrument.receive(data, setTriggerValue);
  return () => {
    instrument.release();
    mounted.delete(parentElement);
  };
}
