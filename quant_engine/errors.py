"""The one error type of the engine, and its one warning."""


class QuantError(ValueError):
    """A refusal: the message states the value, the shape and the remedy."""


class QuantWarning(UserWarning):
    """A choice that is carried out as asked, at a cost that is easily overlooked."""
