// The steps of one number: what the page says is drawn; nothing is computed here.

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** The bits of a register in bytes, those that it does not hold before them, struck out; lines fill from the last byte. */
function strip(row) {
  const place = make("div", `bits part-${row.part}`);
  const all = row.lost + row.bits;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", all);
  const lead = all.length % 8;
  const bytes = [all.slice(0, lead), ...(all.slice(lead).match(/.{8}/g) || [])].filter(Boolean);
  let at = 0;
  for (const byte of bytes) {
    const group = make("span", "byte");
    for (const bit of byte) {
      group.append(make("i", `${bit === "1" ? "one" : ""} ${at < row.lost.length ? "lost" : ""}`, bit));
      at += 1;
    }
    place.prepend(group);
  }
  return place;
}

function table(root, { terms, step, words }) {
  const columns = ["place", "code", "weight", "product"].slice(0, 1 + Math.min(step, 3));
  const head = make("tr");
  for (const name of [...columns, "real"]) head.append(make("th", name, words[name]));
  root.querySelector("thead").replaceChildren(head);
  const lines = terms.map((term) => {
    const line = make("tr", term.inside ? "" : "outside");
    for (const name of columns) {
      const cell = make("td", name, term[name]);
      const bits = term[`${name}_bits`];
      if (bits) cell.append(make("span", "small", bits));
      line.append(cell);
    }
    line.append(make("td", "real", term.real.split("=")[step < 3 ? 0 : 1] || term.real));
    return line;
  });
  root.querySelector("tbody").replaceChildren(...lines);
}

function isDark(place) {
  const color = getComputedStyle(place).getPropertyValue("--st-background-color").trim();
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = color || "#ffffff";
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(probe.fillStyle.slice(at, at + 2), 16));
  return red + green + blue < 384;
}

export default function (component) {
  const { parentElement, data } = component;
  const root = parentElement.querySelector(".pixel");
  root.classList.toggle("dark", isDark(root));
  table(root, data);
  root.querySelector(".rest").textContent = data.step >= 3 ? data.rest : "";
  const rows = data.rows.map((row, number) => {
    const item = make("li", number + 4 > data.step ? "ahead" : "");
    if (number + 4 === data.step) item.setAttribute("aria-current", "step");
    const middle = make("div");
    middle.append(make("div", "text", row.text), make("div", "value", row.value));
    if (row.bits) middle.append(strip(row));
    item.append(make("div", "title", `${number + 4}  ${row.title}`), middle, make("div", "real", row.real));
    return item;
  });
  root.querySelector(".rows").replaceChildren(...rows);
}
