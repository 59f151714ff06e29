"""How a script ends: every expected failure is one sentence on stderr and a non-zero exit code, never a traceback."""

import argparse
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def interrupted_once() -> Iterator[None]:
    """For a block that finishes its files when it is interrupted: nothing interrupts it a second time.

    SIGTERM and SIGHUP then do the same as Ctrl-C.
    """
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    former = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    numbers = [number for number, handler in former.items() if handler != signal.SIG_IGN]  # ignored: by nohup, say
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def interrupt(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, former[number])


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
