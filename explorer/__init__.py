"""Quant Explorer: the app on top of `quant_engine`."""
