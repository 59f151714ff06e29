"""Cameras, read by OpenCV in a thread of their own, so that one that falls silent does not stop the program."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import cv2
import numpy as np

from ..errors import UserError
from .frames import Frame, FrameSource, Region

PATIENCE = 5.0  # seconds without a picture, after which a camera counts as unplugged
START_PATIENCE = 20.0  # the same, for the first picture: some cameras take their time
FALLBACK_RATE, HIGHEST_RATE = 30.0, 240.0
RETRY_SECONDS = 0.02


def open_capture(number: int) -> cv2.VideoCapture:
    """OpenCV's camera of this number. Tests put their own in its place."""
    with suppress(ImportError, AttributeError):  # otherwise it prints a page about cameras that are not there
        from cv2.utils import logging

        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(number)


class CameraFrames(FrameSource):
    """The newest picture of a camera, whenever one is asked for; older ones are forgotten.

    Raises UserError if the camera cannot be opened, and `read` does when no picture has come for PATIENCE seconds.
    patience: instead of PATIENCE. open_capture: number -> something with read(), get(), isOpened() and release() like
    cv2.VideoCapture.
    """

    is_live = True

    def __init__(
        self, number: int, *, crop: Region | None = None, open_capture: Callable | None = None, patience: float | None = None
    ):
        super().__init__(f"camera {number}", frame_rate=FALLBACK_RATE, crop=crop)
        self.number, self.patience = number, PATIENCE if patience is None else patience
        self._open_capture = open_capture or globals()["open_capture"]
        self._changed = threading.Condition()
        self._newest: tuple[np.ndarray, float] | None = None  # a picture nobody has had yet, and when it came
        self._failure: str | None = None
        self._closed, self._first_time, self._given, self._is_open = False, None, 0, False
        self._thread = threading.Thread(target=self._capture, name=self.name, daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_open or self._failure, timeout=START_PATIENCE)
            is_open = self._is_open
        if not is_open:
            self.close()  # which waits for the thread: a program that ends while OpenCV is at work there is aborted
            raise UserError(self._failure or f"{self.name} does not answer; is it in use by another program?")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=1.0)  # a camera that hangs keeps its thread, which ends with the program

    def _next(self) -> Frame | None:
        patience = self.patience if self._given else max(self.patience, START_PATIENCE)
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._failure or self._closed, timeout=patience)
            if self._closed:
                return None
            if self._newest is None:
                raise UserError(self._failure or self._silence())
            (image_bgr, moment), self._newest = self._newest, None
        if self._first_time is None:
            self._first_time = moment
        self._given += 1
        return Frame(image_bgr, self._given - 1, moment - self._first_time)

    def _silence(self) -> str:
        return f"{self.name} gives no more pictures; was it unplugged?"

    def _capture(self) -> None:
        """Runs in the thread: opens the camera and keeps its newest picture."""
        capture = None
        try:
            capture = self._open_capture(self.number)
            if not capture.isOpened():
                self._fail(f"{self.name} cannot be opened; is one connected, and does no other program use it?")
                return
            rate = capture.get(cv2.CAP_PROP_FPS)
            with self._changed:
                self.frame_rate = float(rate) if 1 <= rate <= HIGHEST_RATE else FALLBACK_RATE
                self._is_open = True
                self._changed.notify_all()
            self._keep_newest(capture)
        except Exception as error:  # whatever a driver does: the reader gets to know
            self._fail(f"{self.name} failed ({error})")
        finally:
            if capture is not None:
                capture.release()

    def _keep_newest(self, capture) -> None:
        last_success = time.monotonic()
        while not self._closed:
            done, image_bgr = capture.read()
            now = time.monotonic()
            if done and image_bgr is not None:
                last_success = now
                with self._changed:
                    self._newest = (image_bgr, now)
                    self._changed.notify_all()
            elif now - last_success > self.patience:
                self._fail(self._silence())
                return
            else:
                self.skipped += 1
                time.sleep(RETRY_SECONDS)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._failure = reason
            self._changed.notify_all()
