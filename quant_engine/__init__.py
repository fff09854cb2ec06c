"""Quantization of neural-network tensors: specs, fitted quantizers, exact error, and whole networks.

>>> import quant_engine as qe
>>> spec = qe.QuantizerSpec(qe.IntFormat(4), qe.PerChannel(0), clipping=qe.MinMSE())
>>> qe.quantize([[0.1, -0.3], [2.0, 1.0]], spec).dequantize().shape
(2, 2)
"""

import lazy_loader

# what a name needs is imported when the name is first used: the command line starts without numba
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
