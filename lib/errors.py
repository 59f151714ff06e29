"""Errors whose message is one sentence for the person at the keyboard; scripts print it and exit with code 1."""


class UserError(ValueError):
    """Something the user gave cannot be used. The message names it and says what was expected."""


class CheckpointError(UserError):
    """A weight file cannot be read, recognised, or does not fit the model it claims to be."""


class PictureError(UserError):
    """A picture cannot be read or has a shape or type that is not a picture's."""
