"""A screen without a monitor, and a script with a window on it: for tests that press keys and look at what is seen."""

import ctypes
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ATTEMPTS = 5
PATIENCE = 60  # seconds until a test gives up waiting for something to appear


class Screen:
    """A virtual X server whose framebuffer is a file that can be read at any time."""

    def __init__(self, display: str, framebuffer: Path):
        self.display, self.framebuffer = display, framebuffer

    def shot(self) -> np.ndarray:
        """What is on the screen, height x width x 3 BGR (the file is an X window dump)."""
        dump = self.framebuffer.read_bytes()
        header = struct.unpack(">25I", dump[:100])
        header_size, width, height, bytes_per_line, colours = (header[place] for place in (0, 4, 5, 12, 19))
        pixels = np.frombuffer(dump, np.uint8, bytes_per_line * height, header_size + 12 * colours)
        return pixels.reshape(height, -1, 4)[:, :width, :3].copy()

    def do(self, *arguments: object) -> str:
        """Runs xdotool, and returns what it prints."""
        environment = {**os.environ, "DISPLAY": self.display}
        command = ["xdotool", *map(str, arguments)]
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=30).stdout

    def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        self.do("mousemove", *start, "sleep", "0.2", "mousedown", 1, "sleep", "0.2")
        self.do("mousemove", *end, "sleep", "0.2", "mouseup", 1, "sleep", "0.2")


@contextmanager
def virtual_screen(folder: Path) -> Iterator[Screen]:
    """A screen that lives as long as the block. folder: for its framebuffer."""
    # Xvfb could choose a free number itself (-displayfd), but then two that start at once may choose the same.
    numbers = (number for number in random.sample(range(100, 10_000), 50) if not Path(f"/tmp/.X{number}-lock").exists())
    for number in numbers:
        # -noreset: otherwise everything starts afresh whenever the last program leaves the screen. -r: keys never repeat.
        command = ["Xvfb", f":{number}", "-noreset", "-r", "-screen", "0", "1200x1000x24", "-fbdir", str(folder)]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        screen = Screen(f":{number}", folder / "Xvfb_screen0")
        try:
            while server.poll() is None:
                try:
                    screen.do("getmouselocation")
                except subprocess.CalledProcessError:  # not ready yet
                    time.sleep(0.1)
                    continue
                yield screen
                return
        finally:
            server.terminate()
            server.wait()
    raise AssertionError("Xvfb does not start")


class Viewer:
    """A script on a screen. Everything below is in the canvas' pixels: without a window manager, it is at 0, 0."""

    def __init__(self, screen: Screen, process: subprocess.Popen):
        self.screen, self.process = screen, process

    def window(self) -> int | None:
        """The window's number, once it is there."""
        try:
            return int(self.screen.do("search", "--onlyvisible", "--name", "^Plain DPT$").split()[-1])
        except subprocess.CalledProcessError:
            return None

    def is_painted(self) -> bool:
        """Waits for the window's first contents.

        On a busy machine, the Qt of OpenCV's wheels sometimes loses the news that its window is on the screen, and
        never paints it. No program can see that or help it, so tests start again.
        """
        deadline = time.monotonic() + PATIENCE
        while self.window() is None and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        deadline = time.monotonic() + PATIENCE / 10
        while not self.screen.shot()[:200, :200].any() and time.monotonic() < deadline:
            time.sleep(0.1)
        return bool(self.screen.shot()[:200, :200].any())

    def key(self, *keys: str) -> None:
        self.screen.do("windowfocus", self.window())  # nobody else does, without a window manager
        self.screen.do("key", "--delay", 60, *keys)

    def wait(self, condition: Callable[[np.ndarray], bool], what: str) -> np.ndarray:
        """The first picture of the screen that fulfils a condition."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            shot = self.screen.shot()
            if condition(shot):
                return shot
            assert self.process.poll() is None, f"ended while waiting for {what}: {self.process.communicate()}"
            time.sleep(0.05)
        raise AssertionError(f"never seen: {what}")

    def end(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr, once it has ended by itself."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors


@contextmanager
def viewers(screen: Screen, script: Path, common: Sequence, folder: Path) -> Iterator[Callable[..., Viewer]]:
    """start(options...) -> a Viewer: the script with these options and the common ones, which runs in this folder."""
    started = []

    def start(*options: object) -> Viewer:
        screen.do("mousemove", 1199, 999)  # the pointer is drawn into the picture of the screen
        command = [sys.executable, script, *common, *options]
        environment = {**os.environ, "DISPLAY": screen.display, "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
        for _ in range(ATTEMPTS):
            process = subprocess.Popen(
                list(map(str, command)),
                env=environment,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it may be ignored where tests run
            )
            started.append(Viewer(screen, process))
            if started[-1].is_painted():
                return started[-1]
            process.kill()
            print(process.communicate())
        raise AssertionError("no window was ever painted")

    yield start
    for viewer in started:
        if viewer.process.returncode is None:
            viewer.process.kill()
            viewer.process.communicate()


def press_close_button(display: str, window: int) -> None:
    """What a window manager sends when its button is pressed: WM_DELETE_WINDOW."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    protocols, delete = (x11.XInternAtom(connection, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    # XClientMessageEvent: type, serial, send_event, display, window, message_type, format, data
    event = struct.pack("@iLiPLLi5l", 33, 0, 0, 0, window, protocols, 32, delete, 0, 0, 0, 0)
    x11.XSendEvent(connection, ctypes.c_ulong(window), False, ctypes.c_long(0), event.ljust(192, b"\0"))
    x11.XCloseDisplay(connection)
