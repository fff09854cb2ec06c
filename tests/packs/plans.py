"""Plans that give every layer the same, rows of the cards that are measured again, and inputs without labels."""

import numpy as np
import pytest

import quant_engine as qe
from quant_engine.packs.ocr import SETS, text_lines
from quant_engine.studies.pack_card import SHARED, pack_card


def every_layer(network, bits, granularity):
    spec = qe.QuantizerSpec(qe.IntFormat(bits), granularity)
    return qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))


def check_row(network, name, bits, shared):
    """Measure a row of a pack's card again: its first score, within a quarter of its interval, for other processors."""
    granularity = SHARED[shared]
    stored = next(iter(pack_card(name).rows[qe.QuantizerSpec(qe.IntFormat(bits), granularity)].values()))
    found = network.evaluate(every_layer(network, bits, granularity))
    assert (found.name, found.n) == (stored.name, stored.n)
    assert found.value == pytest.approx(stored.value, abs=(stored.interval[1] - stored.interval[0]) / 4)
    return found.value


def lines_of_width(width):
    """Return the recogniser's lines of one width (n, 3, 48, width) without what they say, as a person has them."""
    return np.concatenate([x for split in SETS for x, _ in text_lines(split) if x.shape[-1] == width])
