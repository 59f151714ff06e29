"""Errors whose message is one sentence for the person at the keyboard; scripts print it and exit with code 1."""

LONGEST_MESSAGE = 2000


def one_line(text: str) -> str:
    """Text that quotes file names or keys, fit for a terminal: no line breaks, no colours, no end of patience."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


class UserError(ValueError):
    """Something the user gave cannot be used. The message names it and says what was expected."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class CheckpointError(UserError):
    """A weight file cannot be read, recognised, or does not fit the model it claims to be."""


class PictureError(UserError):
    """A picture cannot be read or has a shape or type that is not a picture's."""
