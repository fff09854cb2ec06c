"""The one error type of the engine, and its one warning."""

MOST = 4000  # characters of a message: what it repeats may come from a hostile file


class QuantError(ValueError):
    """A refusal: the message states the value, the shape and the remedy; of a very long one, its two ends."""

    def __str__(self) -> str:
        r"""Return the message, without the full stop of a foreign error at its end, and without what is no character.

        >>> print(QuantError("the file cannot be read: it has no header."))
        the file cannot be read: it has no header
        >>> print(QuantError("no layer '\ud800'"))
        no layer '?'
        """
        said = super().__str__().encode(errors="replace").decode()
        if not said.endswith(".."):  # an ellipsis is no full stop
            said = said.removesuffix(".")
        return said if len(said) <= MOST else f"{said[: MOST * 3 // 4]} … {said[-MOST // 4 :]}"


class QuantWarning(UserWarning):
    """A choice that is carried out as asked, at a cost that is easily overlooked."""
