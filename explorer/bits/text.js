// How numbers are read and written here.

/** Read what a person types; undefined where it is no number. */
function readNumber(text) {
  const plain = text.trim().toLowerCase().replace("−", "-").replace("∞", "inf").replace(/^([^.]*),([^.,]*)$/, "$1.$2");
  const named = { nan: NaN, inf: Infinity, "+inf": Infinity, "-inf": -Infinity, infinity: Infinity, "-infinity": -Infinity };
  if (plain in named) return named[plain];
  return /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/.test(plain) ? Number(plain) : undefined;
}

/** Write a number in full, as it is read again. */
function writeNumber(number) {
  if (Object.is(number, -0)) return "-0";
  if (Number.isNaN(number)) return "nan";
  if (!Number.isFinite(number)) return number > 0 ? "inf" : "-inf";
  return String(number).replace("e+", "e");
}

/** Write a number for the eye. */
function shown(number) {
  const names = { nan: "NaN", inf: "∞", "-inf": "−∞", "-0": "−0" };
  const text = writeNumber(number);
  return names[text] ?? text.replace("-", "−").replace(/e(.\d*)$/, (_, power) => ` · 10${raised(power)}`);
}

/** Write a number with few figures. */
function short(number, figures = 3) {
  if (!Number.isFinite(number) || number === 0) return shown(number);
  const exponent = Math.floor(Math.log10(Math.abs(number)));
  if (exponent >= -4 && exponent <= 6) return shown(Number(number.toPrecision(figures)));
  const [mantissa, power] = number.toExponential(figures - 1).split("e");
  return `${mantissa} · 10${raised(Number(power))}`.replace("-", "−");
}

/** Write an integer as a raised number. */
function raised(power) {
  return String(power).replace(/[-−0-9]/g, (sign) => ({ "-": "⁻", "−": "⁻" })[sign] ?? "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign]);
}

/** Fill a sentence's {names}. */
function fill(sentence, facts) {
  return sentence.replace(/\{(\w+)\}/g, (_, name) => facts[name] ?? "");
}

/** Write a code in hexadecimal, as many digits as its bits need. */
function hexOf(form, code) {
  return "0x" + code.toString(16).toUpperCase().padStart(Math.ceil(form.bits / 4), "0");
}

/** Make an element. */
function element(name, classes, text = "") {
  const made = document.createElement(name);
  made.className = classes;
  made.textContent = text;
  return made;
}
