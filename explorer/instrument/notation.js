// How numbers are written: as explorer/notation.py does.

let decimal = ".";
let wholes = new Intl.NumberFormat("en");

/** Write numbers as a language does from now on. */
function speak(language) {
  decimal = (1.5).toLocaleString(language)[1];
  wholes = new Intl.NumberFormat(language);
}

/** Write a number with so many decimals. */
function fixed(value, decimals) {
  return value.toFixed(decimals).replace("-", "−").replace(".", decimal);
}

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };

/** Write a power of ten's exponent. */
function superscript(exponent) {
  return [...String(exponent)].map((digit) => SUPERSCRIPTS[digit]).join("");
}

/** Write a number as a power of ten. */
function scientific(value, digits = 3) {
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  return { mantissa, power: `·10${superscript(Number(power))}` };
}

/** Write a number with three significant figures. */
function short(value, digits = 3) {
  if (value === 0) return "0";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : value < 0 ? "−∞" : "undefined";
  const exponent = Math.floor(Math.log10(Math.abs(value)));
  let text;
  if (exponent >= -3 && exponent < Math.max(digits + 1, 5)) {
    text = value.toFixed(Math.max(digits - 1 - exponent, 0));
    if (text.includes(".")) text = text.replace(/\.?0+$/, "");
  } else {
    const { mantissa, power } = scientific(value, digits);
    text = mantissa + power;
  }
  return text.replace("-", "−").replace(".", decimal);
}

/** Write a share as per cent; small ones never as a bare zero. */
function share(value) {
  return value > 0 && value < 1e-4 ? `<${fixed(0.01, 2)} %` : `${short(100 * value)} %`;
}

/** Write a whole number with its thousands apart. */
function whole(value) {
  return wholes.format(Math.round(value));
}

/** Return round numbers from `from` to `to`, about `wanted` of them. */
function ticks(from, to, wanted) {
  const rough = (to - from) / Math.max(wanted, 1);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * ([1, 2, 5, 10].find((multiple) => multiple * unit >= rough) ?? 10);
  const found = [];
  for (let k = Math.ceil(from / step - 1e-9); k * step <= to + 1e-9 * step; k++) found.push(k * step || 0);
  return found;
}

/** Return how an axis writes its marks: all of them as powers of ten if one is. */
function markWriter(marks) {
  if (!marks.some((mark) => short(mark).includes("·"))) return short;
  return (mark) => {
    if (mark === 0) return "0";
    const { mantissa, power } = scientific(mark);
    return (mantissa.replace(/\.?0+$/, "") + power).replace("-", "−").replace(".", decimal);
  };
}

/** Fill names in braces into words. */
function fill(words, told) {
  return words.replace(/\{(\w+)\}/g, (_, name) => told[name]);
}
