// The hand on the centroids: pointer, keys, zoom. Everything answers in the browser; letting go tells the server.

const NEAR = 28; // pixels from which a centroid is picked up
const FINE = 0.1; // with shift
const KEY_STEP = 1 / 200; // of the axis
const LETTING_GO = 350; // milliseconds without a key
const CONFIRMATION = 4000; // milliseconds in which older answers of the server are passed over

/** One mounted figure. */
class Buckets {
  constructor(root) {
    this.root = root.querySelector(".buckets");
    this.canvas = root.querySelector("canvas");
    this.rail = root.querySelector(".rail");
    this.announcement = root.querySelector(".announce");
    this.numbers = Object.fromEntries([...root.querySelectorAll("[data-number]")].map((e) => [e.dataset.number, e]));
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.canvas);
    this.listen();
  }

  /** Take what the server says, unless a hand is on a centroid or its last move is unanswered. */
  receive(bytes, send) {
    this.send = send;
    const { header, payload } = unpack(bytes);
    const asked = header.setting.levels;
    if (this.header?.digest !== header.digest || this.levels?.length !== asked.length) this.forget();
    if (this.header?.digest !== header.digest) {
      this.stats = statistics(payload, header.values);
      this.zoom = null;
    }
    const touched = this.header?.bucket !== header.bucket;
    this.header = header;
    speak(header.language);
    if (header.answered === this.pending?.id || performance.now() > this.pending?.until) this.pending = null;
    if (!this.drag && !this.pending) {
      this.levels = [...asked];
      if (touched) this.chosen = header.bucket;
    }
    this.dress();
    this.draw();
    this.canvas.dataset.shows = JSON.stringify(asked);
  }

  forget() {
    this.pending = null;
    this.drag = null;
    clearTimeout(this.waiting);
    this.waiting = null;
  }

  /** Write what does not change while a hand moves. */
  dress() {
    const { words, palette, alt } = this.header;
    for (const place of this.root.querySelectorAll("[data-word]")) place.textContent = words[place.dataset.word];
    for (const place of this.root.querySelectorAll("[data-label]")) place.setAttribute("aria-label", words[place.dataset.label]);
    this.root.querySelector(".hint").textContent = words.hint;
    this.canvas.setAttribute("aria-label", alt);
    this.root.style.setProperty("--ink", palette.ink);
    while (this.rail.childElementCount > this.levels.length) this.rail.lastElementChild.remove();
    while (this.rail.childElementCount < this.levels.length) this.rail.append(this.handle(this.rail.childElementCount));
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
    const { stats, header, levels, chosen } = this;
    const quantizer = bucketQuantizer(levels);
    this.result = evaluate(stats, quantizer);
    this.means = bucketMeans(stats, quantizer);
    const g = pen(this.canvas, header.palette);
    this.frame = bucketFrame(g.width, g.height, this.zoom ?? (this.drag ? this.frame.sight : this.all()));
    const { unit, units, words, veiled } = header;
    drawBucketFigure(g, this.frame, { stats, quantizer, chosen, unit, units, words, veiled, result: this.result, means: this.means });
    this.placeHandles();
    this.showNumbers();
  }

  /** Return the span of the axis without zoom. */
  all() {
    const { stats, levels } = this;
    return wholeSight(stats, levels[0], levels[levels.length - 1]);
  }

  placeHandles() {
    const { frame, levels, stats, result, header } = this;
    const [top, bottom] = frame.panel("rail");
    this.rail.style.top = `${top}px`;
    this.rail.style.height = `${bottom - top}px`;
    [...this.rail.children].forEach((handle, k) => {
      const x = frame.x(levels[k]);
      handle.style.left = `${Math.min(Math.max(x, frame.left), frame.right)}px`;
      handle.setAttribute("aria-label", `${header.words.handle} ${k}`);
      handle.setAttribute("aria-valuemin", String(stats.least));
      handle.setAttribute("aria-valuemax", String(stats.greatest));
      handle.setAttribute("aria-valuenow", String(levels[k]));
      const part = header.veiled ? "" : `, ${share(result.counts[k] / stats.size)}`;
      handle.setAttribute("aria-valuetext", short(levels[k]) + part);
    });
  }

  showNumbers() {
    const { result, header, levels, chosen, means, stats, numbers } = this;
    const k = Math.min(chosen, levels.length - 1);
    const { words, veiled } = header;
    const counts = whole(result.counts[k]);
    const say = {
      mse: veiled ? "?" : short(result.mse),
      sqnr: veiled ? "?" : Number.isFinite(result.sqnr) ? `${fixed(result.sqnr, 1)} dB` : "∞ dB",
      fullest: veiled ? "?" : share(Math.max(...result.counts) / stats.size),
      bucket: veiled ? `${words.bucket} ${k}` : `${words.bucket} ${k}: ${counts} ${words.values}`,
      centroid: `${words.at} ${short(levels[k], 4)}, ${words.its_mean} ${means[k] === null ? "–" : short(means[k], 4)}`,
    };
    for (const [name, text] of Object.entries(say)) numbers[name].textContent = text;
  }

  /** Make what the keyboard and screen readers take hold of. */
  handle(k) {
    const made = document.createElement("div");
    made.setAttribute("role", "slider");
    made.tabIndex = 0;
    made.onfocus = () => {
      this.chosen = k;
      this.redraw();
    };
    made.onkeydown = (event) => this.key(event, k);
    made.onblur = () => this.waiting && this.letGo();
    return made;
  }

  listen() {
    this.rail.onpointerdown = (event) => {
      const k = this.nearest(event.clientX);
      if (k === null) return;
      event.preventDefault();
      this.rail.setPointerCapture(event.pointerId);
      this.rail.children[k].focus({ preventScroll: true, focusVisible: false });
      this.drag = { k, before: [...this.levels], off: event.clientX - this.clientX(this.levels[k]) };
      this.chosen = k;
      this.redraw();
    };
    this.rail.onpointermove = (event) => {
      if (this.drag && event.buttons) this.move(this.drag.k, this.valueAt(event.clientX - this.drag.off));
    };
    this.rail.onpointerup = () => this.drag && this.letGo();
    this.rail.onpointercancel = () => this.cancel();
    this.canvas.onwheel = (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoomBy(2 ** (-event.deltaY / 200), this.valueAt(event.clientX));
    };
    for (const button of this.root.querySelectorAll("[data-zoom]")) {
      button.onclick = () => this.zoomBy(Number(button.dataset.zoom));
    }
  }

  /** Return the centroid that a pointer takes hold of, or null if there is none near. */
  nearest(clientX) {
    const away = this.levels.map((level) => Math.abs(this.clientX(level) - clientX));
    const least = Math.min(...away);
    return least <= NEAR ? away.indexOf(least) : null;
  }

  /** Move a centroid, as far as its neighbours and the axis let it. */
  move(k, value) {
    const { levels, frame } = this;
    const [low, high] = this.all();
    const [before, behind] = [levels[k - 1] ?? low, levels[k + 1] ?? high];
    const pixel = (frame.sight[1] - frame.sight[0]) / (frame.right - frame.left);
    const apart = Math.min(pixel, (behind - before) / 4);
    levels[k] = Math.min(Math.max(value, before + apart), behind - apart);
    this.redraw();
  }

  /** Move a centroid by the keys of a slider; escape takes the last moves back. */
  key(event, k) {
    const { frame, levels } = this;
    const step = (frame.sight[1] - frame.sight[0]) * KEY_STEP * (event.shiftKey ? FINE : 1);
    const moves = {
      ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step,
      PageDown: -10 * step, PageUp: 10 * step, Home: -Infinity, End: Infinity,
    };
    if (event.key === "Escape" && this.drag) {
      event.preventDefault();
      this.cancel();
    } else if (event.key in moves) {
      event.preventDefault();
      if (this.drag && this.drag.k !== k) this.letGo();
      this.drag ??= { k, before: [...levels] };
      this.move(k, levels[k] + moves[event.key]);
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.letGo(), LETTING_GO);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.letGo();
    }
  }

  /** Tell the server where the centroids are now, and which one was touched. */
  letGo() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const moved = this.drag && this.drag.before.some((level, k) => level !== this.levels[k]);
    this.drag = null;
    this.draw();
    this.pending = { id: performance.timeOrigin + performance.now(), until: performance.now() + CONFIRMATION };
    if (moved) {
      const { mse, at } = this.header.words;
      const error = this.header.veiled ? "" : `, ${mse} ${short(this.result.mse)}`;
      this.announcement.textContent = `${at} ${short(this.levels[this.chosen])}${error}`;
    }
    this.send("commit", { id: this.pending.id, centroids: moved ? this.levels : null, bucket: this.chosen });
  }

  cancel() {
    if (this.drag) this.levels = this.drag.before;
    this.forget();
    this.redraw();
  }

  /** Zoom by a factor about a value, or to the chosen centroid; 0 shows all. */
  zoomBy(factor, about) {
    const all = this.all();
    const [from, to] = this.frame.sight;
    const width = (to - from) / factor;
    if (factor === 0 || width >= all[1] - all[0]) {
      this.zoom = null;
    } else {
      const centre = this.levels[Math.min(this.chosen, this.levels.length - 1)];
      const left = about === undefined ? centre - width / 2 : about - (about - from) / factor;
      this.zoom = [left, left + width];
    }
    this.redraw();
  }

  clientX(value) {
    return this.canvas.getBoundingClientRect().left + this.frame.x(value) * zoomOf(this.canvas);
  }

  valueAt(clientX) {
    return this.frame.value(pixelOf(this.canvas, clientX));
  }
}

const mounted = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!mounted.has(parentElement)) mounted.set(parentElement, new Buckets(parentElement));
  const figure = mounted.get(parentElement);
  figure.receive(data, setTriggerValue);
  return () => {
    figure.release();
    mounted.delete(parentElement);
  };
}
