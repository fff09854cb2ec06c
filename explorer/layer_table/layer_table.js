// The table of layers. Cells are native menus; what a hand sets there goes to the server, for all layers that are chosen.

const LOCK = '<svg viewBox="0 0 14 16" aria-hidden="true"><path d="M3 7V5a4 4 0 0 1 8 0v2h1v8H2V7zm2 0h4V5a2 2 0 0 0-4 0z"/></svg>';

const tag = (kind, type = "", text = "") => Object.assign(document.createElement(kind), { className: type, textContent: text });

class LayerTable {
  constructor(root) {
    this.root = root.querySelector(".layers");
    this.head = root.querySelector("thead tr");
    this.body = root.querySelector("tbody");
  }

  /** Take what the server says, which it repeats while a study goes on: what is as it was is left alone, open menus too. */
  receive(data, send) {
    this.send = send;
    this.data = data;
    this.chosen = [...data.chosen];
    for (const [name, colour] of Object.entries(data.palette)) this.root.style.setProperty(`--${name}`, colour);
    const form = JSON.stringify([data.columns, data.numbers, data.words, data.rows.map((row) => row.name)]);
    if (form !== this.form) this.make(form);
    [data.alike, ...data.rows].forEach((row, place) => {
      const text = JSON.stringify(row);
      if (text !== this.rows[place].text) this.fill(this.rows[place], row);
      this.rows[place].text = text;
    });
    this.order();
    this.mark();
    if (this.sight !== this.chosen[0]) this.bring();
  }

  /** Bring the layer that is shown into sight, by scrolling the table alone. */
  bring() {
    this.sight = this.chosen[0];
    const row = this.rows.slice(1).find((one) => one.name === this.sight)?.root;
    if (!row) return;
    const above = this.head.offsetHeight;
    const [top, bottom] = [row.offsetTop - above, row.offsetTop + row.offsetHeight];
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (bottom > this.root.scrollTop + this.root.clientHeight) this.root.scrollTop = bottom - this.root.clientHeight;
  }

  make(form) {
    this.form = form;
    const { columns, numbers, words, alike, rows } = this.data;
    const titles = [["name", words.layer], ...columns.map((column) => ["", column.title])].map(([type, title]) => tag("th", type, title));
    this.head.replaceChildren(...titles, ...numbers.map((number, place) => this.sorter(number.title, place)));
    this.rows = [alike, ...rows].map((row, place) => this.made(row, place === 0));
    this.body.replaceChildren(...this.rows.map((row) => row.root));
  }

  /** Return the heading of a column of numbers: pressed, the worst layers come first; pressed again, the model's order. */
  sorter(title, place) {
    const [cell, button] = [tag("th", "number"), tag("button", "sort", title)];
    button.title = this.data.words.sort;
    button.onclick = () => {
      this.sorted = this.sorted === place ? null : place;
      this.order();
      this.root.scrollTop = 0;
    };
    cell.append(button);
    return cell;
  }

  order() {
    const { rows, numbers } = this.data;
    const by = numbers[this.sorted];
    const key = ({ ranks }) => ranks[this.sorted] ?? -Infinity;
    const worse = by?.worst === "low" ? (row) => -key(row) : key;
    const places = rows.map((_, place) => place);
    if (by) places.sort((one, other) => worse(rows[other]) - worse(rows[one]) || one - other);
    const wanted = [this.rows[0], ...places.map((place) => this.rows[place + 1])].map((row) => row.root);
    if (wanted.some((root, place) => this.body.children[place] !== root)) this.body.replaceChildren(...wanted);
    [...this.head.querySelectorAll("th.number")].forEach((cell, place) => {
      cell.setAttribute("aria-sort", place !== this.sorted ? "none" : by.worst === "low" ? "ascending" : "descending");
    });
  }

  made({ name, shown }, alike) {
    const row = { root: tag("tr", alike ? "alike" : ""), menus: {}, numbers: this.data.numbers.map(() => tag("td", "number")) };
    const cell = tag("td", "name");
    const inner = tag("span");
    if (alike) inner.append(shown);
    else inner.append(...this.handles(row, name, shown));
    cell.append(inner);
    row.root.append(cell);
    for (const column of this.data.columns) {
      const menu = tag("select");
      menu.setAttribute("aria-label", `${column.title}, ${name}`);
      for (const [word, shown] of Object.entries(column.options)) menu.append(new Option(shown, word));
      menu.onchange = () => this.changed(menu, column, alike ? null : name);
      const held = tag("td");
      held.append(menu);
      row.menus[column.name] = menu;
      row.root.append(held);
    }
    row.root.append(...row.numbers);
    return row;
  }

  /** Return what stands by a layer's name: a tick, the name, which shows the layer, and a lock. */
  handles(row, name, shown) {
    const tick = Object.assign(tag("input"), { type: "checkbox" });
    tick.setAttribute("aria-label", `${this.data.words.choose} ${name}`);
    tick.onclick = (event) => this.choose(name, event.shiftKey ? "range" : "toggle");
    const button = tag("button", "choose");
    button.append(shown);
    button.setAttribute("aria-label", name);
    button.title = name;
    button.onclick = (event) => this.choose(name, event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "one");
    const lock = tag("button", "lock");
    lock.innerHTML = LOCK;
    lock.onclick = () => this.send("commit", { kind: "lock", layers: this.meant(name), word: lock.getAttribute("aria-pressed") === "true" ? "" : "lock" });
    Object.assign(row, { tick, button, lock, name });
    return [tick, button, lock];
  }

  fill(row, { cells, own, numbers, locked }) {
    for (const [column, menu] of Object.entries(row.menus)) {
      const word = cells[column];
      menu.hidden = word === "";
      menu.querySelector("[data-other]")?.remove();
      if (![...menu.options].some((option) => option.value === word)) {
        const other = new Option(word, word);
        other.dataset.other = "yes";
        menu.prepend(other);
      }
      menu.value = menu.dataset.word = word;
      menu.classList.toggle("own", own.includes(column));
      menu.disabled = locked;
    }
    row.numbers.forEach((cell, place) => { cell.textContent = numbers[place] ?? ""; });
    if (!row.lock) return;
    row.lock.setAttribute("aria-pressed", String(locked));
    row.lock.setAttribute("aria-label", `${this.data.words[locked ? "unlock" : "lock"]} ${row.name}`);
    row.lock.title = this.data.words[locked ? "unlock" : "lock"];
  }

  mark() {
    for (const row of this.rows.slice(1)) {
      row.tick.checked = this.chosen.includes(row.name);
      row.root.classList.toggle("chosen", row.tick.checked);
      row.root.classList.toggle("shown", this.chosen[0] === row.name);
      row.button.setAttribute("aria-pressed", String(this.chosen[0] === row.name));
    }
  }

  /** Choose a layer: alone, with others, or with all from the one that is shown. The first one is shown. */
  choose(name, how) {
    const names = this.data.rows.map((row) => row.name);
    if (how === "one") this.chosen = [name];
    else if (how === "toggle") {
      const others = this.chosen.filter((one) => one !== name);
      this.chosen = others.length < this.chosen.length ? (others.length ? others : [name]) : [name, ...others];
    } else {
      const ends = [names.indexOf(this.chosen[0] ?? name), names.indexOf(name)].sort((a, b) => a - b);
      this.chosen = [name, ...names.slice(ends[0], ends[1] + 1).filter((one) => one !== name)];
    }
    this.mark();
    this.send("commit", { kind: how === "one" ? "look" : "choose", layers: this.chosen });
  }

  /** Return the layers that a hand on one of them means: all that are chosen, if it is one of these. */
  meant(name) {
    return this.chosen.includes(name) ? [...this.chosen] : [name];
  }

  /** Send the word that a menu is set to; one that lacks a number has it written in the menu's place first. */
  changed(menu, { name: column, number }, layer) {
    const word = menu.value;
    if (!word.includes(number)) return this.set(layer, column, word);
    const box = Object.assign(tag("input", "asked"), { type: "number", min: 1, step: 1, placeholder: this.data.words.number });
    box.setAttribute("aria-label", menu.selectedOptions[0].text);
    const done = () => {
      if (!box.isConnected) return;
      if (box.value >= 1) this.set(layer, column, word.replace(number, box.value));
      menu.hidden = false;
      menu.value = menu.dataset.word;
      box.remove();
    };
    box.onblur = done;
    box.onkeydown = ({ key }) => {
      if (key === "Escape") box.value = "";
      if (key === "Escape" || key === "Enter") box.blur();
    };
    menu.hidden = true;
    menu.after(box);
    box.focus();
  }

  set(name, column, word) {
    for (const row of this.rows) row.text = null; // what the server refuses is shown as it was
    this.send("commit", { kind: "set", layers: name === null ? [] : this.meant(name), column, word });
  }
}

const mounted = new WeakMap();

export default function (component) {
  const { parentElement, data, setTriggerValue } = component;
  if (!mounted.has(parentElement)) mounted.set(parentElement, new LayerTable(parentElement));
  mounted.get(parentElement).receive(data, setTriggerValue);
  return () => mounted.delete(parentElement);
}
