"""How numbers are written on screen: three significant figures, units always."""

from __future__ import annotations

import math

from explorer.language import localized, read_words
from explorer.sentences import BROKEN
from quant_engine.network import Score

MINUS = "−"
WIDE = 0xFEE0  # from a sign to its full-width form
KIB, MIB = 1024, 1024**2


def short(value: float, digits: int = 3) -> str:
    """Write a number with `digits` significant figures, in powers of ten where it is very small or large.

    >>> short(0.0244), short(-1.5), short(6.41e-05), short(0.0), short(123456.0)
    ('0.0244', '−1.5', '6.41·10⁻⁵', '0', '1.23·10⁵')
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "∞" if value > 0 else MINUS + "∞" if value < 0 else "undefined"
    exponent = math.floor(math.log10(abs(value)))
    if -3 <= exponent < max(digits + 1, 5):
        text = _trimmed(f"{value:.{max(digits - 1 - exponent, 0)}f}")
    else:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa}·10{superscript(int(power))}"
    return localized(text.replace("-", MINUS))


def unbroken(text: str) -> str:
    """Keep a text on one line: a table too wide for its window then scrolls, and no cell is a letter wide.

    >>> unbroken("93.8 %") == "93.8\u00a0%"
    True
    """
    return text.replace(" ", "\u00a0")


def latex_text(name: str) -> str:
    r"""Write a name within a formula, with wide forms of the signs that are commands, or end it.

    >>> latex_text("conv_1"), latex_text(r"}$\href{x}")
    ('\\text{conv\\_1}', '\\text{｝＄＼href｛x｝}')
    """
    wide = {ord(sign): chr(ord(sign) + WIDE) for sign in "\\{}$#%&^~"}
    plain = BROKEN.sub(" ", name).translate(wide).replace("_", r"\_")
    return rf"\text{{{plain}}}"


def latex(value: float, digits: int = 4) -> str:
    r"""Write a number for LaTeX.

    >>> latex(6.41e-05)
    '6.41 \\cdot 10^{-5}'
    """
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -4 <= exponent < 6:
        return _in_latex(f"{value:.{max(digits - 1 - exponent, 0)}f}")
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return rf"{_in_latex(mantissa)} \cdot 10^{{{int(power)}}}"


def share(value: float) -> str:
    """Write a share as per cent; small ones never as a bare zero.

    >>> share(0.0126), share(0.5), share(0.0), share(1e-6)
    ('1.26 %', '50 %', '0 %', '<0.01 %')
    """
    percent = 100 * value
    if 0 < percent < 0.01:
        return f"<{localized('0.01')} %"
    return f"{short(percent)} %"


def split(part: float, whole: float) -> str:
    """Write a part as whole per cent of its whole.

    >>> split(0.3, 0.4), split(0.0, 0.0)
    ('75 %', '0 %')
    """
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def ratio(value: float, unit: float) -> str:
    """Write a multiple of a unit, which may be 0.

    >>> ratio(0.5, 0.2), ratio(0.5, 0.0), ratio(0.0, 0.0)
    ('×2.5', '×∞', '×1')
    """
    if not unit:
        return "×∞" if value else "×1"
    return f"×{short(value / unit)}"


def improvement(now: float, best: float) -> str:
    """Say how much smaller the least error is.

    >>> improvement(4.3, 1.0), improvement(1.004, 1.0), improvement(1620.0, 1.0)
    ('4.3 times smaller', 'the same', '1620 times smaller')
    """
    said = read_words("panels")["instrument"]
    if best <= 0.0 or now / best < 1.005:
        return str(said["same"])
    return str(said["smaller"].format(ratio=short(now / best)))


def beside(value: float, min_value: float, digits: int = 3) -> str:
    """Write a number as a multiple of the least one of its kind; both may be 0.

    >>> beside(0.5, 0.2), beside(0.0, 0.0), beside(1.0, 0.0), beside(1.0469, 1.0, 4)
    ('×2.5', '×1', '×∞', '×1.047')
    """
    if not min_value:
        return "×∞" if value else "×1"
    return f"×{short(value / min_value, digits)}"


def decibels(value: float) -> str:
    """Write decibels with one decimal.

    >>> decibels(18.46), decibels(float("inf"))
    ('18.5 dB', '∞ dB')
    """
    if not math.isfinite(value):
        return f"{short(value)} dB"
    return localized(f"{value:.1f} dB".replace("-", MINUS))


def size(count: float) -> str:
    """Write a number of bytes.

    >>> size(73728), size(9220), size(12), size(5 * 1024 * 1024)
    ('72 KiB', '9 KiB', '12 B', '5 MiB')
    """
    if count < KIB:
        return f"{count:.0f} B"
    unit, name = (MIB, "MiB") if count >= MIB else (KIB, "KiB")
    return f"{short(count / unit)} {name}"


def accuracy(value: float) -> str:
    """Write an accuracy in per cent with one decimal.

    >>> accuracy(0.9385)
    '93.8 %'
    """
    return f"{fixed(100 * value, 1)} %"


def fixed(value: float, decimals: int) -> str:
    """Write a number with so many decimals.

    >>> fixed(2.5, 3)
    '2.500'
    """
    return localized(f"{value:.{decimals}f}")


def duration(seconds: float) -> str:
    """Write about how long something takes: from two minutes on in minutes, from two hours on in hours.

    >>> duration(45.2), duration(5620), duration(9000)
    ('45 s', '94 min', '2.5 h')
    """
    if seconds < 120:
        return f"{fixed(seconds, 0)} s"
    return f"{fixed(seconds / 60, 0)} min" if seconds < 7200 else f"{fixed(seconds / 3600, 1)} h"


def is_share(found: Score) -> bool:
    """Say whether a score is told in per cent.

    >>> from quant_engine.network import Accuracy, Score
    >>> is_share(Accuracy(1876, 2000)), is_share(Score("perplexity", 14.2, 1696, (13.1, 15.4), better="lower"))
    (True, False)
    """
    return not found.unit and found.better == "higher" and 0 <= found.value <= 1


def shown_score(found: Score) -> str:
    """Write a score: shares in per cent, others in their unit.

    >>> from quant_engine.network import Score
    >>> shown_score(Score("perplexity", 14.23, 1696, (13.1, 15.4), better="lower"))
    '14.2'
    """
    return accuracy(found.value) if is_share(found) else f"{short(found.value)} {found.unit}".rstrip()


def shown_interval(found: Score) -> str:
    """Write the 95 % interval of a score, as the score is written.

    >>> from quant_engine.network import Accuracy
    >>> shown_interval(Accuracy(1876, 2000))
    '92.7 % – 94.8 %'
    """
    low, high = (accuracy(end) if is_share(found) else short(end) for end in found.interval)
    return f"{low} – {high}"


def with_interval(found: Score) -> str:
    """Write a score with its 95 % interval, as `shown_score` does.

    >>> from quant_engine.network import Accuracy
    >>> with_interval(Accuracy(1876, 2000))
    '93.8 % (92.7 % – 94.8 %)'
    """
    return f"{shown_score(found)} ({shown_interval(found)})"


def scored(found: Score) -> str:
    """Write any score with its 95 % interval, on one line; what so few samples do not resolve is said to be so.

    >>> from quant_engine.network import Accuracy
    >>> scored(Accuracy(1876, 2000)).replace("\u00a0", " ")
    '0.938 (0.927 – 0.948)'
    """
    if math.isnan(found.value):
        return unbroken(read_words("shared")["unresolved"])
    unit = f" {found.unit}" if found.unit else ""
    low, high = found.interval
    return unbroken(f"{short(found.value)}{unit} ({short(low)} – {short(high)})")


def sizes(before: float, after: float) -> str:
    """Write a change of size, the unit once where it is the same.

    >>> sizes(73728, 9220), sizes(5 * 1024 * 1024, 9220)
    ('72 → 9 KiB', '5 MiB → 9 KiB')
    """
    first, second = size(before), size(after)
    if first.split()[1] == second.split()[1]:
        first = first.split()[0]
    return f"{first} → {second}"


def growth(before: float, after: float) -> str:
    """Write how many times less a size has become, or more.

    >>> growth(73728, 9220), growth(576, 32888)
    ('÷ 8', '× 57.1')
    """
    return f"÷ {short(before / after)}" if after <= before else f"× {short(after / before)}"


def shape(dimensions: tuple[int, ...]) -> str:
    """Write a shape.

    >>> shape((64, 32, 3, 3))
    '64×32×3×3'
    """
    return "×".join(str(d) for d in dimensions) or "scalar"


def count(value: int) -> str:
    """Write a whole number with thousands apart, as the language has it.

    >>> count(79440), count(-8)
    ('79,440', '−8')
    """
    return localized(f"{value:,}".replace("-", MINUS))


def _in_latex(text: str) -> str:
    return _trimmed(text).replace(".", "{,}" if localized(".") == "," else ".")


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def superscript(value: int) -> str:
    """Write a whole number as an exponent.

    >>> superscript(-12)
    '⁻¹²'
    """
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
