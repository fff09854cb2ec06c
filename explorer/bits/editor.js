// The cells: every click and every typed figure answers here at once; after a moment the page is told.

const STANDING = 300; // milliseconds without a change, after which the page is told
const CONFIRMATION = 4000; // milliseconds in which older answers of the page are passed over

/** One mounted editor: a number, and the code that holds it in the chosen format. */
class Editor {
  constructor(root) {
    this.root = root.querySelector(".bits");
    this.input = root.querySelector("input");
    this.cells = root.querySelector(".cells");
    this.rows = root.querySelector("tbody");
    this.input.oninput = () => this.type();
    this.input.onkeydown = (event) => {
      if (event.key === "Enter") this.tell();
    };
    this.cells.onkeydown = (event) => this.walk(event);
  }

  part(selector) {
    return this.root.querySelector(selector);
  }

  /** Take what the page says, unless a change of our own is still on its way. */
  receive(data, send) {
    const { words, answered } = data;
    this.send = send;
    this.words = words;
    this.formats = data.formats;
    for (const place of this.root.querySelectorAll("[data-word]")) place.textContent = words[place.dataset.word];
    this.root.classList.toggle("dark", isDark(this.root));
    if (answered === this.pending?.id || performance.now() > this.pending?.until) this.pending = null;
    if (!this.pending) {
      this.chosen = data.format;
      const number = readNumber(data.number);
      if (!Object.is(number, this.number)) this.take(number);
    }
    if (this.coded !== JSON.stringify(this.form)) this.recode();
    this.draw();
  }

  get form() {
    return this.formats.find((form) => form.name === this.chosen);
  }

  /** Hold a number that was given: typed, or by the page. */
  take(number) {
    this.number = number;
    this.input.value = writeNumber(number);
    this.fault("");
    this.recode();
  }

  recode() {
    this.coded = JSON.stringify(this.form); // a scale or a point may change under the same name
    this.code = encode(this.form, this.number);
  }

  type() {
    const number = readNumber(this.input.value);
    if (number === undefined) return this.fault(this.words.no_number);
    this.fault("");
    this.number = number;
    this.recode();
    this.changed();
  }

  fault(text) {
    this.part(".fault").textContent = text;
    this.input.toggleAttribute("aria-invalid", Boolean(text));
    if (text) this.input.setAttribute("aria-invalid", "true");
  }

  /** Turn a bit over; the number is then what the code stands for. */
  flip(place) {
    const code = this.code ?? 0;
    this.code = bitOf(code, place) ? code - 2 ** place : code + 2 ** place;
    this.number = decode(this.form, this.code);
    this.input.value = writeNumber(this.number);
    this.fault("");
    this.changed();
    this.part(".announce").textContent = `${this.form.title}: ${this.describe()}`;
  }

  choose(name) {
    this.chosen = name;
    this.recode();
    this.changed();
  }

  changed() {
    this.draw();
    this.pending = { id: performance.timeOrigin + performance.now(), until: Infinity };
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.tell(), STANDING);
  }

  tell() {
    clearTimeout(this.waiting);
    if (!this.pending) return;
    this.pending.until = performance.now() + CONFIRMATION;
    this.send("commit", { id: this.pending.id, format: this.chosen, number: writeNumber(this.number) });
  }

  release() {
    clearTimeout(this.waiting);
  }

  /** Move between cells with the arrow keys, from the first to the last. */
  walk(event) {
    const buttons = [...this.cells.querySelectorAll("button")];
    const here = buttons.indexOf(event.target);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || here < 0) return;
    event.preventDefault();
    this.focusOn(buttons[Math.min(Math.max(to, 0), buttons.length - 1)]);
  }

  focusOn(button) {
    for (const other of this.cells.querySelectorAll("button")) other.tabIndex = other === button ? 0 : -1;
    button.focus();
  }

  draw() {
    this.drawCells();
    this.drawValue();
    this.drawRows();
  }

  /** Make cells anew where the format has changed, and set what each shows. */
  drawCells() {
    const parts = partsOf(this.form);
    const shape = parts.map((part) => `${part.name}${part.bits}`).join();
    if (shape !== this.shape) {
      this.shape = shape;
      this.cells.replaceChildren(...this.makeParts(parts));
    }
    this.cells.setAttribute("aria-label", fill(this.words.cells, { format: this.form.title }));
    for (const button of this.cells.querySelectorAll("button")) {
      const bit = this.code === null ? 0 : bitOf(this.code, Number(button.dataset.place));
      button.textContent = this.code === null ? "?" : String(bit);
      button.setAttribute("aria-pressed", String(Boolean(bit)));
    }
  }

  makeParts(parts) {
    const made = [];
    for (const { name, bits, first } of parts) {
      const box = element("div", `part ${name}`);
      const row = element("div", "row");
      for (let place = first; place > first - bits; place--) {
        const button = element("button", "");
        button.dataset.place = place;
        button.tabIndex = place === this.form.bits - 1 ? 0 : -1;
        button.setAttribute("aria-label", fill(this.words.cell, { part: this.words[name], place: place - first + bits - 1 }));
        button.onclick = () => {
          this.focusOn(button);
          this.flip(place);
        };
        row.append(button);
      }
      if (name === "fraction") made.push(element("div", "point", "."));
      box.append(element("div", "label", bits > 2 ? `${this.words[name]}, ${bits}` : this.words[name]), row);
      made.push(box);
    }
    return made;
  }

  describe() {
    return this.code === null ? this.words.no_code : shown(decode(this.form, this.code));
  }

  drawValue() {
    const { form, code, words } = this;
    this.part(".value .name").textContent = form.title;
    this.part("output").textContent = this.describe();
    const kind = code === null ? "normal" : kindOf(form, code);
    this.part(".kind").textContent = words[kind] ?? "";
    this.part(".formula").innerHTML = code === null ? "" : formulaOf(form, code);
    this.part(".said").textContent = this.sentences(kind).join(" ");
  }

  /** Say what kind of code this is, what became of the number, and how it is written. */
  sentences(kind) {
    const { form, code, words, number } = this;
    if (code === null) return [fill(words.no_code_said, { format: form.title })];
    const found = [words[`${kind}_said`]];
    const facts = { number: shown(number), highest: shown(form.highest), hex: hexOf(form, code) };
    const gap = gapAt(form, code);
    if (Math.abs(number) > form.highest && !Object.is(decode(form, code), number)) found.push(fill(words.beyond, facts));
    else if (number !== 0 && decode(form, code) === 0) found.push(fill(words.vanishes, facts));
    if (form.kind === "integer" && form.signed) found.push(fill(words.complement, { weight: shown(2 ** (form.bits - 1) * form.step) }));
    if (gap !== null && kind !== "infinity" && kind !== "nan") found.push(fill(words.gap, { gap: shown(gap) }));
    return [...found, fill(words.written, facts)].filter(Boolean);
  }

  /** Write the number in every format, a row each. */
  drawRows() {
    const focused = this.root.getRootNode().activeElement?.closest("tr")?.dataset.format;
    this.rows.replaceChildren(
      ...this.formats.map((form) => {
        const code = form.name === this.chosen ? this.code : encode(form, this.number);
        const row = element("tr", "");
        row.dataset.format = form.name;
        if (form.name === this.chosen) row.setAttribute("aria-current", "true");
        const pick = element("button", "", form.title);
        pick.onclick = () => this.choose(form.name);
        const name = element("td", "");
        name.append(pick);
        const strip = element("td", "strip");
        if (code !== null) strip.append(...stripOf(form, code));
        const numbers = this.compare(form, code).map((text) => element("td", "", text));
        row.append(name, strip, ...numbers);
        return row;
      })
    );
    if (focused) this.rows.querySelector(`tr[data-format="${focused}"] button`).focus();
  }

  compare(form, code) {
    if (code === null) return [this.words.no_code, "–", "–"];
    const stored = decode(form, code);
    if (Object.is(stored, this.number) || stored === this.number) return [shown(stored), "0", "0"];
    const error = stored - this.number;
    const relative = Math.abs(error / this.number);
    return [shown(stored), short(error), Number.isFinite(relative) ? `${short(100 * relative)} %` : "–"];
  }
}

/** Return the parts of a code from its left end: name, width, and the place of the first bit. */
function partsOf(form) {
  const widths =
    form.kind === "float"
      ? [["sign", 1], ["exponent", form.exponent], ["mantissa", form.mantissa]]
      : [["sign", form.signed ? 1 : 0], ["integer", form.bits - form.fraction - (form.signed ? 1 : 0)], ["fraction", form.fraction]];
  let first = form.bits - 1;
  const parts = [];
  for (const [name, bits] of widths) {
    if (bits) parts.push({ name, bits, first });
    first -= bits;
  }
  return parts;
}

/** Write a code's bits in the colours of its parts. */
function stripOf(form, code) {
  const bits = code.toString(2).padStart(form.bits, "0");
  const strips = partsOf(form).map(({ name, bits: wide, first }) => {
    const from = form.bits - 1 - first;
    return element("span", name, bits.slice(from, from + wide));
  });
  return [...strips, element("span", "after", hexOf(form, code))];
}

/** Return the formula of a code with its own numbers, as markup of numbers alone. */
function formulaOf(form, code) {
  const number = decode(form, code);
  if (!Number.isFinite(number)) return `<b>${shown(number)}</b>`;
  if (form.kind === "integer") {
    const unit = form.scaled ? short(form.step, 4) : `2<sup class="e">${-form.fraction || 0}</sup>`.replace("-", "−");
    const whole = shown(integerOf(form, code));
    return form.fraction || form.scaled ? `${whole} · ${unit} = <b>${shown(number)}</b>` : `<b>${whole}</b>`;
  }
  const { sign, exponent, mantissa } = fieldsOf(form, code);
  const lead = exponent > 0 ? 1 : 0;
  const power = `<sup><span class="e">${exponent > 0 ? exponent : 1}</span> − ${form.bias}</sup>`;
  const part = form.mantissa ? ` · (${lead} + <span class="m">${mantissa}</span>/${2 ** form.mantissa})` : "";
  return `(−1)<sup class="s">${sign}</sup> · 2${power}${part} = <b>${shown(number)}</b>`;
}

/** Say whether the page is dark, by its background. */
function isDark(place) {
  const color = getComputedStyle(place).getPropertyValue("--st-background-color").trim();
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = color || "#ffffff";
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(probe.fillStyle.slice(at, at + 2), 16));
  return red + green + blue < 384;
}

const mounted = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!mounted.has(parentElement)) mounted.set(parentElement, new Editor(parentElement));
  const editor = mounted.get(parentElement);
  editor.receive(data, setTriggerValue);
  return () => {
    editor.release();
    mounted.delete(parentElement);
  };
}
