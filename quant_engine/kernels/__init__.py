"""Numba kernels: small functions of arrays and scalars, each with an obvious numpy twin in tests/reference.py.

They are serial and release the GIL; `parallel.over_ranges` drives them on slices. None is fastmath: only accumulations
may be reassociated, so rounding, clamping and scaling stay IEEE and agree with other tools to the bit.
"""
