"""Plans that give every layer the same."""

import quant_engine as qe


def every_layer(network, bits, granularity):
    spec = qe.QuantizerSpec(qe.IntFormat(bits), granularity)
    return qe.QuantizationPlan(dict.fromkeys(network.layers(), qe.LayerPlan(spec)))
