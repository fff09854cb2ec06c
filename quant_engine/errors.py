"""The one error type of the engine."""


class QuantError(ValueError):
    """A refusal: the message states the value, the shape and the remedy."""
