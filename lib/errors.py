"""Errors whose message is one sentence for the person at the keyboard; scripts print it and exit with code 1."""

LONGEST_MESSAGE = 1000


class UserError(ValueError):
    """Something the user gave cannot be used. The message names it and says what was expected."""

    def __str__(self) -> str:
        # Messages quote file names and keys: a damaged file must not put line breaks or colours into a terminal.
        text = "".join(character if character.isprintable() else " " for character in super().__str__())
        return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + " ..."


class CheckpointError(UserError):
    """A weight file cannot be read, recognised, or does not fit the model it claims to be."""


class PictureError(UserError):
    """A picture cannot be read or has a shape or type that is not a picture's."""
