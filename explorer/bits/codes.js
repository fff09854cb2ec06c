// Codes and the numbers they stand for, as the engine defines them; a code is the bit pattern as an unsigned integer.

/** Round to the nearest integer, half to even. */
function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Return the power of two at or below a positive number. */
function exponentOf(value) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return ((view.getUint32(0) >>> 20) & 0x7ff) - 1023;
}

/** Return one bit of a code, counted from the right. */
function bitOf(code, place) {
  return Math.floor(code / 2 ** place) % 2;
}

/** Split a float's code into sign, exponent and mantissa, as whole numbers. */
function fieldsOf(form, code) {
  const magnitude = code % 2 ** (form.bits - 1);
  return {
    sign: bitOf(code, form.bits - 1),
    exponent: Math.floor(magnitude / 2 ** form.mantissa),
    mantissa: magnitude % 2 ** form.mantissa,
    magnitude,
  };
}

/** Return an integer's code as the whole number it is, negative ones in two's complement. */
function integerOf(form, code) {
  return form.signed && bitOf(code, form.bits - 1) ? code - 2 ** form.bits : code;
}

/** Return the number a code stands for. */
function decode(form, code) {
  if (form.kind === "integer") return integerOf(form, code) * form.step;
  const { sign, exponent, mantissa, magnitude } = fieldsOf(form, code);
  if (magnitude > form.greatest) return magnitude === form.infinity ? (sign ? -Infinity : Infinity) : NaN;
  const whole = exponent > 0 ? mantissa + 2 ** form.mantissa : mantissa;
  const size = whole * 2 ** (Math.max(exponent, 1) - form.bias - form.mantissa);
  return sign ? -size : size;
}

/** Return the code of the nearest number, half to even; null where the format has none, as for NaN in many. */
function encode(form, number) {
  if (form.kind === "integer") {
    if (Number.isNaN(number)) return null;
    const steps = Math.min(Math.max(roundEven(number / form.step), form.least), form.greatest);
    return steps < 0 ? steps + 2 ** form.bits : steps + 0;
  }
  if (Number.isNaN(number)) return form.nan;
  const size = Math.abs(number);
  let code = form.overflow;
  if (size < Infinity) {
    const exponent = size > 0 ? Math.max(exponentOf(size), form.leastExponent) : form.leastExponent;
    const steps = roundEven(size / 2 ** (exponent - form.mantissa));
    code = (exponent - form.leastExponent) * 2 ** form.mantissa + steps;
    if (code > form.greatest) code = form.overflow;
  }
  const negative = number < 0 || Object.is(number, -0);
  return negative && (code > 0 || form.negativeZero) ? code + 2 ** (form.bits - 1) : code;
}

/** Return what kind of number a code is: "normal", "subnormal", "zero", "minus_zero", "infinity" or "nan". */
function kindOf(form, code) {
  const number = decode(form, code);
  if (Number.isNaN(number)) return "nan";
  if (!Number.isFinite(number)) return "infinity";
  if (number === 0) return Object.is(number, -0) ? "minus_zero" : "zero";
  return form.kind === "float" && fieldsOf(form, code).exponent === 0 ? "subnormal" : "normal";
}

/** Return how far the next number away from zero is; null at the end of the format. */
function gapAt(form, code) {
  if (form.kind === "integer") return [form.least, form.greatest].includes(integerOf(form, code)) ? null : form.step;
  const { exponent, magnitude } = fieldsOf(form, code);
  return magnitude >= form.greatest ? null : 2 ** (Math.max(exponent, 1) - form.bias - form.mantissa);
}
