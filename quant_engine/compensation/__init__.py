"""Compensation for what rounding loses: algorithms on arrays and small torch modules, without a network's wiring."""
