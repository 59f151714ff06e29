"""What comes next: the depth of the chosen picture, or frame after frame of a video. One thread for each browser."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..errors import UserError
from .frames import Frame, FrameSource
from .geometry import DEFAULT_VIEW_DEGREES, focal_of_view
from .pictures import PictureFile
from .script import out_of_memory_message
from .viewer_inputs import DepthService, Region, read_still
from .viewer_scene import Settings, Shot, default_step, limits_of, shrink

SETTLE_SECONDS = 0.35  # a new size of the network's input is computed when its control has rested for so long
IDLE_SECONDS = 0.5
CUT_DIFFERENCE = 40.0  # mean change of a frame's grey values that means another scene
LIMITS_KEPT = 0.9  # of the last frame's range of values: relative models stretch each frame differently

Size = tuple[int, int]
Opened = Callable[[Size, Size, float | None], None]


@dataclass(frozen=True)
class Asked:
    """What the controls ask a player for. Everything but settings is of videos."""

    settings: Settings
    every_frame: bool = False
    repeat: bool = True


class Player(threading.Thread):
    """Calls `show` with every new shot, until it is closed.

    asked: what the controls say now. show: (shot, moving, text about it). fail: gets a sentence about what went wrong.
    """

    def __init__(self, asked: Callable[[], Asked], show: Callable[[Shot, bool, str], None], fail: Callable[[str], None]):
        super().__init__(name="depth for one browser", daemon=True)
        self.asked, self.show, self.fail = asked, show, fail
        self.wake, self.closed = threading.Event(), False

    def run(self) -> None:
        try:
            while not self.closed:
                try:
                    self.turn()
                except UserError as error:
                    self.give_up(str(error))
                except (RuntimeError, MemoryError, cv2.error) as error:  # the ways in which memory runs out
                    self.give_up(out_of_memory_message(error))
        finally:
            self.let_go()

    def give_up(self, sentence: str) -> None:
        """Says what went wrong, and waits until something else is asked for."""
        self.wake.clear()
        if not self.closed:  # looked at after the event is cleared: `close` sets both, in the other order
            self.fail(sentence)
            self.wake.wait()

    def turn(self) -> None:
        """One step of the work, or one wait."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Frees what the player holds. Runs in its own thread, last."""

    def rest(self, seconds: float = IDLE_SECONDS) -> None:
        """Waits until something is asked for, or for this long."""
        self.wake.wait(seconds)
        self.wake.clear()

    def close(self) -> None:
        """Ends the thread; returns at once."""
        self.closed = True
        self.wake.set()


class StillPlayer(Player):
    """One of several pictures.

    opened: called before the depth is computed, with the sizes (width, height) of the picture and of the whole one that it
    is a part of, and with the focal length in pixels of the latter, None if nothing tells.
    """

    def __init__(
        self,
        files: Sequence[PictureFile],
        service: DepthService,
        *,
        mask_path: str | None,
        region: Region | None,
        opened: Opened,
        **callbacks: Callable,
    ):
        super().__init__(**callbacks)
        self.files, self.service, self.mask_path, self.region, self.opened = files, service, mask_path, region, opened
        self.index, self.done, self.still, self.still_index = 0, None, None, None

    def choose(self, index: int) -> None:
        """Another picture, please."""
        self.index = index
        self.wake.set()

    def turn(self) -> None:
        wanted = (self.index, self.asked().settings.side_length)
        if wanted == self.done:
            self.rest()
            return
        if self.done is not None and wanted[0] == self.done[0]:  # a slider may still be moving
            time.sleep(SETTLE_SECONDS)
            if (self.index, self.asked().settings.side_length) != wanted:
                return
        self.done = wanted  # also if it fails: it would fail again
        index, side_length = wanted
        if self.still_index != index:
            self.still = read_still(self.files[index], mask_path=self.mask_path, region=self.region)
            self.still_index = index
            height, width = self.still.image_bgr.shape[:2]
            self.opened((width, height), self.still.full_wh, self.still.focal)
        start = time.perf_counter()
        depth_map = self.service.predict(self.still.image_bgr, side_length, key=("still", index))
        seconds = time.perf_counter() - start
        shot = self.still.shot(depth_map)
        height, width = self.service.model.network_size(*shot.image_bgr.shape[:2], side_length)
        picture = f"{shot.image_bgr.shape[1]} × {shot.image_bgr.shape[0]}"
        self.show(shot, False, f"{shot.name}: {picture} pixels, network {width} × {height}, {1000 * seconds:.0f} ms")

    def let_go(self) -> None:
        self.still = None


class VideoPlayer(Player):
    """Frames of a video or camera, in time with the clock or (every_frame) one after the other.

    open_source: opens the frames anew for this browser. mask: H W of the frames; region: of which part of the whole frames,
    of size full_wh, they are. opened: see StillPlayer. moved: called with the number of the frame that is shown.
    """

    def __init__(
        self,
        open_source: Callable[[], FrameSource],
        service: DepthService,
        *,
        mask: np.ndarray | None,
        region: Region | None,
        full_wh: tuple[int, int] | None,
        opened: Opened,
        moved: Callable[[int], None],
        **callbacks: Callable,
    ):
        super().__init__(**callbacks)
        self.open_source, self.service, self.opened, self.moved = open_source, service, opened, moved
        self.mask, self.region, self.full_wh = mask, region, full_wh
        self.source: FrameSource | None = None
        self.playing, self.target, self.position = False, None, 0  # position: the frame that reading would give next
        self.frame: Frame | None = None
        self.shown: tuple | None = None  # what the shot on the screen was made of
        self.clock = (0.0, 0)  # a moment, and the frame that was due then
        self.before: tuple[np.ndarray, Shot] | None = None  # the last frame, small and grey, and its shot

    def play(self, playing: bool) -> None:
        """Start or stop."""
        self.playing, self.clock = playing, (time.monotonic(), self.frame.index + 1 if self.frame else 0)
        self.wake.set()

    def seek(self, index: int) -> None:
        """Go to a frame."""
        self.target = index
        self.wake.set()

    def turn(self) -> None:
        if self.source is None:
            self.source = self.open_source()
            self.target = None if self.source.is_live else 0
            self.playing = self.source.is_live
        if self.source.is_live:
            self._turn_live()
        elif self.target is not None:
            target, self.target = self.target, None
            self.before = None
            self._go_to(target)
            self.clock = (time.monotonic(), target + 1)
        elif self.playing:
            self._go_on()
        elif self.frame is not None and self.shown != self._made_of(self.frame):
            self._show(self.frame)  # the network's size, or the decimation, has changed
        else:
            self.rest()

    def give_up(self, sentence: str) -> None:
        self.playing = False
        super().give_up(sentence)

    def _turn_live(self) -> None:
        if not self.playing:
            self.rest()
            return
        frame = self.source.read()  # the newest there is
        if frame is None:
            raise UserError(f"{self.source.name}: the camera gives no more pictures")
        self.frame = frame
        self._show(frame)

    def _go_on(self) -> None:
        """The frame that is due: the next one, or the one that the clock asks for."""
        every_frame = self.asked().every_frame
        started, first = self.clock
        due = first + int((time.monotonic() - started) * self.source.frame_rate)
        next_index = self.frame.index + 1 if self.frame else 0
        if due < next_index:
            self.rest(started + (next_index - first) / self.source.frame_rate - time.monotonic())
            return
        start = time.monotonic()
        if not self._go_to(next_index if every_frame else due):
            if self.asked().repeat and self.frame is not None:
                self.seek(0)
            else:
                self.playing = False
        elif every_frame:
            self.clock = (start, self.frame.index)  # so that the clock does not run ahead of a slow model

    def _go_to(self, index: int) -> bool:
        """Reads and shows this frame; False at the end."""
        if self.source.frame_count and index >= self.source.frame_count:
            return False
        ahead = index - self.position
        if ahead < 0 or ahead > 3 * self.source.frame_rate:  # far ahead, jumping is quicker than decoding what lies between
            self.source.seek(index)
            self.position = index
        frame = None
        while self.position <= index and not self.closed:
            frame = self.source.read()
            if frame is None:
                return False
            self.position = max(frame.index, self.position) + 1
        if frame is None:
            return False
        self.frame = Frame(frame.image_bgr, max(frame.index, index), frame.seconds)
        self._show(self.frame)
        self.moved(self.frame.index)
        return True

    def _made_of(self, frame: Frame) -> tuple:
        settings = self.asked().settings
        return (frame.index, settings.side_length, settings.step)

    def _show(self, frame: Frame) -> None:
        """The frame's depth, computed or remembered, made steady, and small."""
        if self.frame is not None and self.shown is None:
            height, width = frame.image_bgr.shape[:2]
            self.opened((width, height), self.full_wh or (width, height), None)
        asked = self.asked()
        settings, made_of = asked.settings, self._made_of(frame)
        key = ("frame", self.source.name, *made_of)
        start = time.perf_counter()
        shot = None if self.source.is_live else self.service.recall(key)
        is_remembered = shot is not None
        if not is_remembered:
            shot = self._compute(frame, settings)
            if not self.source.is_live:
                size = shot.image_bgr.nbytes + shot.depth_map.depth.nbytes
                self.service.remember(key, shot, size)
        seconds = time.perf_counter() - start
        if self.shown != made_of:
            shot = self._steady(shot, frame, settings.steadiness)
        self.shown = made_of
        place = f"{frame.seconds:.1f} s, frame {frame.index}"
        skipped = f", {self.source.skipped} unreadable" if self.source.skipped else ""
        took = "remembered" if is_remembered else f"{1000 * seconds:.0f} ms"
        self.show(shot, self.playing, f"{self.source.name}: {place}; depth {took}{skipped}")

    def _compute(self, frame: Frame, settings: Settings) -> Shot:
        image_bgr = frame.image_bgr
        depth_map = self.service.predict(image_bgr, settings.side_length)
        limits = limits_of(depth_map, self.mask)
        shot = Shot(image_bgr, depth_map, limits, self.source.name, self.mask, self.full_wh, self.region)
        return shrink(shot, settings.step)

    def _steady(self, shot: Shot, frame: Frame, steadiness: float) -> Shot:
        """The shot with some of the last one's depth and range of values, unless the scene has changed."""
        small = cv2.cvtColor(cv2.resize(frame.image_bgr, (64, 36), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        before, self.before = self.before, None
        if before is not None and np.abs(small.astype(float) - before[0]).mean() < CUT_DIFFERENCE:
            last = before[1]
            if shot.depth_map.quantity != "metres":
                ends = zip(shot.limits, last.limits, strict=True)
                shot = replace(shot, limits=tuple((1 - LIMITS_KEPT) * new + LIMITS_KEPT * old for new, old in ends))
            if steadiness > 0 and last.depth_map.depth.shape == shot.depth_map.depth.shape:
                depth = (1 - steadiness) * shot.depth_map.depth + steadiness * last.depth_map.depth
                shot = replace(shot, depth_map=replace(shot.depth_map, depth=depth.astype(np.float32)))
        self.before = (small, shot)
        return shot

    def let_go(self) -> None:
        if self.source is not None:
            self.source.close()
        self.source = self.frame = self.before = None


def first_focal(picture_wh: tuple[int, int], focal: float | None, view_degrees: float | None) -> float:
    """Focal length in pixels to begin with: the angle that was asked for (across the width), else the photograph's own,
    else a usual one across the longer side."""
    if view_degrees is not None:
        return focal_of_view(view_degrees, picture_wh[0])
    return focal or focal_of_view(DEFAULT_VIEW_DEGREES, max(picture_wh))


def first_step(picture_wh: tuple[int, int], step: int | None, *, is_video: bool) -> int:
    """Decimation to begin with: what was asked for, else so that a browser has no trouble."""
    return step or default_step(picture_wh[1], picture_wh[0], is_video=is_video)
