// Steppers for the bits of each layer. Bytes answer in the browser; letting go tells the server.

const LETTING_GO = 350; // milliseconds without a step
const CONFIRMATION = 4000; // milliseconds in which older answers of the server are passed over

let locale = "en";
const whole = (count) => count.toLocaleString(locale);
const average = (bits) => bits.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: 2 });

class Steppers {
  constructor(root) {
    this.root = root.querySelector(".steppers");
    const find = (name) => this.root.querySelector(`.${name}`);
    [this.budget, this.fill, this.mark, this.taken, this.left] = ["budget", "fill", "mark", "taken", "left"].map(find);
    [this.list, this.hint, this.announcement] = ["rows", "hint", "announce"].map(find);
    this.rows = [];
  }

  /** Take what the server says, unless a hand has stepped on and is unanswered. */
  receive(data, send) {
    this.send = send;
    locale = data.language;
    const names = data.rows.map((row) => row.name).join("\n");
    if (this.names !== names) {
      this.names = names;
      this.forget();
      this.rows = data.rows.map((row, place) => this.made(row, place));
      this.list.replaceChildren(...this.rows.map((row) => row.root));
    }
    this.data = data;
    if (data.answered === this.pending?.id || performance.now() > this.pending?.until) this.pending = null;
    if (!this.waiting && !this.pending) this.chosen = [...data.chosen];
    this.draw();
  }

  forget() {
    clearTimeout(this.waiting);
    this.waiting = null;
    this.pending = null;
  }

  made({ name }, place) {
    const tag = (kind, type, text = "") => Object.assign(document.createElement(kind), { className: type, textContent: text });
    const row = { root: tag("div", "row"), step: tag("div", "step"), bits: tag("span", "bits"), bar: tag("div", "bar"), size: tag("span", "size") };
    const label = tag("span", "name", name);
    label.title = name;
    row.step.tabIndex = 0;
    row.step.setAttribute("role", "spinbutton");
    row.step.setAttribute("aria-label", name);
    row.step.onkeydown = (event) => this.key(event, place);
    row.step.onblur = () => this.waiting && this.letGo();
    [row.less, row.more] = [["−", -1], ["+", 1]].map(([sign, by]) => {
      const button = tag("button", "", sign);
      button.tabIndex = -1;
      button.onclick = () => this.move(place, this.chosen[place] + by);
      return button;
    });
    row.step.append(row.less, row.bits, row.more);
    row.root.append(label, row.step, row.bar, row.size);
    return row;
  }

  key(event, place) {
    const last = this.data.choices.length - 1;
    const at = this.chosen[place];
    const to = { ArrowUp: at + 1, ArrowRight: at + 1, ArrowDown: at - 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(place, to);
  }

  move(place, to) {
    const held = Math.min(Math.max(to, 0), this.data.choices.length - 1);
    if (held === this.chosen[place]) return;
    this.chosen[place] = held;
    this.draw();
    this.announcement.textContent = `${this.data.rows[place].name} ${this.data.choices[held]} ${this.data.words.bits}. ${this.left.textContent}`;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.letGo(), LETTING_GO);
  }

  letGo() {
    clearTimeout(this.waiting);
    this.waiting = null;
    const id = `${performance.now()}`;
    this.pending = { id, until: performance.now() + CONFIRMATION };
    this.send("commit", { id, chosen: [...this.chosen] });
  }

  draw() {
    const { rows, choices, budget, words, palette } = this.data;
    for (const [name, colour] of Object.entries(palette)) this.root.style.setProperty(`--${name}`, colour);
    const sizes = rows.map((row, place) => row.sizes[this.chosen[place]]);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const weights = rows.reduce((sum, row) => sum + row.weights, 0);
    const longest = Math.max(...sizes);
    const reach = Math.max(budget * 1.25, total);
    this.fill.style.width = `${(100 * total) / reach}%`;
    this.mark.style.left = `${(100 * budget) / reach}%`;
    this.budget.classList.toggle("over", total > budget);
    this.taken.textContent = `${whole(total)} ${words.of} ${whole(budget)} ${words.bytes} · ${average((8 * total) / weights)} ${words.average}`;
    this.left.textContent = total > budget ? `${whole(total - budget)} ${words.over}` : `${whole(budget - total)} ${words.free}`;
    this.budget.setAttribute("aria-label", `${this.taken.textContent}, ${this.left.textContent}`);
    this.hint.textContent = words.hint;
    this.rows.forEach((row, place) => {
      const at = this.chosen[place];
      row.bits.textContent = choices[at];
      row.size.textContent = `${whole(sizes[place])} B`;
      row.bar.style.width = `${(100 * sizes[place]) / longest}%`;
      row.less.disabled = at === 0;
      row.more.disabled = at === choices.length - 1;
      row.less.setAttribute("aria-label", `${words.less} ${rows[place].name}`);
      row.more.setAttribute("aria-label", `${words.more} ${rows[place].name}`);
      row.step.setAttribute("aria-valuenow", String(at));
      row.step.setAttribute("aria-valuemin", "0");
      row.step.setAttribute("aria-valuemax", String(choices.length - 1));
      row.step.setAttribute("aria-valuetext", `${choices[at]} ${words.bits}`);
    });
  }

  release() {
    clearTimeout(this.waiting);
  }
}

const mounted = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!mounted.has(parentElement)) mounted.set(parentElement, new Steppers(parentElement));
  const made = mounted.get(parentElement);
  made.receive(data, setTriggerValue);
  return () => {
    made.release();
    mounted.delete(parentElement);
  };
}
