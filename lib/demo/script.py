"""How a script ends: every expected failure is one sentence on stderr and a non-zero exit code, never a traceback."""

import argparse
import io
import sys
from collections.abc import Callable

from ..errors import UserError

INTERRUPTED = 130  # what shells report for a program that Ctrl-C ended

# torch (CPU, CUDA, MPS), numpy and OpenCV each say it in their own words, and mostly as a plain RuntimeError.
OUT_OF_MEMORY_HINTS = ("out of memory", "allocate memory", "not enough memory", "insufficient memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is one of the ways in which memory runs out."""
    return isinstance(error, MemoryError) or any(hint in str(error).lower() for hint in OUT_OF_MEMORY_HINTS)


def out_of_memory_message(error: Exception) -> str:
    """What to do about it, in one sentence; re-raises every other error."""
    if not is_out_of_memory(error):
        raise error
    return "out of memory: pass a smaller processing size with -b, for example -b 392"


def run_script(main: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """The exit code of main(args): what main returns, 1 after an error of the user's, 130 after Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show must not end the run
    try:
        return main(args)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except UserError as error:
        message = str(error)
    except Exception as error:
        message = out_of_memory_message(error)
    print(f"Error: {message}", file=sys.stderr)
    return 1
