"""The window of run_video.py: a video that plays smoothly, and beside it the newest depth there is.

The reader decodes a few frames ahead, in a thread. The worker computes depth, in another, of whatever frame is shown when it is
free: frames never wait in a line. With "wait for depth", every frame waits for its own instead.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import cv2

from ..errors import UserError
from .colour import Look, change_look
from .display import ESCAPE, is_open, provide_fonts, read_key
from .frames import Frame, FrameSource
from .model import LoadedModel
from .options import DEFAULT_SAVE
from .region import choose_region
from .save import free_target, make_folder, save_depth
from .script import out_of_memory_message
from .video_clock import Clock, Meter
from .video_live import LiveDepth, LiveFrame
from .video_output import safe_name
from .video_threads import RunAhead
from .video_view import VideoView
from .video_writer import Recorder, free_path
from .window import FAR_BAR, NEAR_BAR, SAVE_FOLDER, WINDOW

POSITION_BAR, SPEED_BAR = "Frame", "Speed (%)"
SLOWEST, FASTEST, SPEED_STEP = 10, 400, 1.25  # per cent, and what a key press multiplies
READ_AHEAD, JUMP_SECONDS, WAIT_MS = 3, 5.0, 4
LOOKING = "looking over the clip ..."
HELP = (
    ("space", "play or pause"),
    ("n / p", "one frame on / back"),
    ("f / b", f"{JUMP_SECONDS:.0f} seconds on / back"),
    ("+ / -", "faster / slower"),
    ("l", "play again at the end, or stop there"),
    ("y", "wait for the depth of every frame"),
    ("m", "another normalisation"),
    ("c / x", "next / previous colour map"),
    ("r / e", "reverse / equalise the colours"),
    ("s", "save this depth and its frame"),
    ("h", "show or hide this help"),
    ("q, Esc", "quit"),
)
HELP_RECORDING = ("v", "record the window, or stop")


class VideoPlayer:
    """Plays a source until the window is closed.

    reopen: gives the source a second time, for a look over the clip. normalize: one of NORMALISATIONS, or None for the
    model's. The others: see the options of run_video.py.
    """

    def __init__(
        self,
        source: FrameSource,
        model: LoadedModel,
        *,
        reopen: Callable[[], FrameSource],
        display_size: int,
        colour_map: str,
        normalize: str | None = None,
        crop: bool = False,
        wait_for_depth: bool = False,
        loop: bool = True,
        allow_recording: bool = False,
    ):
        self.source, self.model, self.reopen, self.crop = source, model, reopen, crop
        self.sync, self.loop, self.allow_recording = wait_for_depth, loop, allow_recording
        self.live = LiveDepth(model, is_live=source.is_live)
        self.mode = self.live.check(normalize)
        self.look = Look(colour_map=colour_map)
        help_lines = (*HELP, HELP_RECORDING) if allow_recording else HELP
        self.view = VideoView(display_size, help_lines)
        self.clock, self.meter = Clock(), Meter()
        self.has_seek_bar = not source.is_live and (source.frame_count or 0) > 1
        self.playing, self.at_end = True, False
        self.wanted = True  # show the next frame as soon as it is there, though its time has not come
        self.frame: Frame | None = None  # on the screen
        self.upcoming: Frame | None = None  # decoded, but its time has not come
        self.depth: LiveFrame | None = None  # the newest
        self.failed: Frame | None = None  # has no depth, and will not get any
        self.dropped, self.bar_position, self.damaged = 0, 0, False
        self.message, self.help = "", False
        self.reader: RunAhead | None = None
        self.recorder: Recorder | None = None
        self.job: tuple[Future, Frame] | None = None  # the depth that is being computed, and of what
        self.clip_job: Future | None = None

    def run(self) -> int:
        """Opens the window and returns when it is closed: 0, or 1 if frames could not be decoded."""
        provide_fonts()
        cv2.namedWindow(WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
        with ThreadPoolExecutor(max_workers=1) as self.worker:
            try:
                self.begin()
                while is_open(WINDOW):
                    self.follow_trackbars()
                    self.advance()
                    self.collect()
                    self.draw()
                    if not self.press(read_key(WAIT_MS)):
                        break
            finally:
                cv2.destroyAllWindows()
                self.live.closing = True
                self.worker.shutdown(wait=False, cancel_futures=True)
                if self.reader is not None:
                    self.reader.close()
                self.stop_recording()
        return 1 if self.damaged else 0

    def begin(self) -> None:
        """The first frame, the region, the trackbars."""
        first = self.source.read()
        if first is None:
            raise UserError(f"{self.source.name}: not one frame of it can be read")
        if self.crop:
            self.source.crop = choose_region(WINDOW, first.image_bgr, self.view.available_wh)
        bars = {NEAR_BAR: (100, 100), FAR_BAR: (0, 100)}
        if not self.source.is_live:
            self.source.seek(0)
            bars |= {SPEED_BAR: (100, FASTEST)}
        if self.has_seek_bar:
            bars = {POSITION_BAR: (0, self.source.frame_count - 1), **bars}
        for name, (value, top) in bars.items():
            cv2.createTrackbar(name, WINDOW, value, top, lambda _: None)
        self.start_reading()
        self.look_over_clip()

    def start_reading(self) -> None:
        self.reader = RunAhead(iter(self.source), capacity=READ_AHEAD, name="reader")

    def look_over_clip(self) -> None:
        """Starts the first pass of "clip" if that is the mode; until it is done, the colours follow the frames."""
        if self.mode == "clip" and self.clip_job is None:
            self.clip_job = self.worker.submit(self.live.measure_clip, self.reopen, self.source.crop)
            self.message = LOOKING

    def follow_trackbars(self) -> None:
        """Reads the trackbars, and jumps where the seek bar was moved."""
        near, far = (cv2.getTrackbarPos(name, WINDOW) for name in (NEAR_BAR, FAR_BAR))
        self.look = replace(self.look, near_percent=near, far_percent=far)
        if not self.source.is_live:
            self.clock.set_speed(max(cv2.getTrackbarPos(SPEED_BAR, WINDOW), SLOWEST) / 100)
        if self.has_seek_bar:
            place = cv2.getTrackbarPos(POSITION_BAR, WINDOW)
            if place not in (self.bar_position, -1):  # -1: the window is closed already
                self.bar_position = place
                self.jump(place)

    def jump(self, index: int) -> None:
        """Goes to another frame; what was decoded ahead is forgotten."""
        if self.source.is_live:
            return
        if self.source.frame_count:
            index = min(index, self.source.frame_count - 1)
        self.reader.close()
        self.source.seek(max(index, 0))
        self.start_reading()
        self.upcoming, self.wanted, self.at_end = None, True, False
        self.clock.stop()
        self.meter.restart()

    def advance(self) -> None:
        """Shows the frame whose time has come, and drops those whose time is over."""
        if not (self.playing or self.wanted) or (self.sync and not self.wanted and self.needs_depth()):
            return
        taken = []
        while not (taken and (self.wanted or self.sync)):
            self.upcoming = self.upcoming or self.reader.poll()
            if self.upcoming is None:
                break
            if not (self.wanted or self.source.is_live or self.clock.is_due(self.upcoming.seconds)):
                break
            taken.append(self.upcoming)
            self.upcoming = None
        if taken:
            self.dropped += len(taken) - 1
            self.show(taken[-1])
        elif self.upcoming is None and self.reader.finished:
            self.end()

    def show(self, frame: Frame) -> None:
        """Puts a frame on the screen."""
        self.frame, self.wanted = frame, False
        self.damaged |= self.source.skipped > 0
        self.clock.show(frame.seconds, runs=self.playing)
        self.meter.count()
        if self.has_seek_bar:
            cv2.setTrackbarPos(POSITION_BAR, WINDOW, min(frame.index, self.source.frame_count - 1))
            self.bar_position = cv2.getTrackbarPos(POSITION_BAR, WINDOW)

    def end(self) -> None:
        """There are no more frames."""
        self.wanted = False
        if self.at_end:
            return
        if self.loop and self.playing and self.frame.index > 0 and not self.source.is_live:
            self.jump(0)
        else:
            self.playing, self.at_end, self.message = False, True, "the end"
            self.clock.stop()

    def needs_depth(self) -> bool:
        """Whether the frame on the screen still waits for its depth."""
        waits = self.frame is not None and (self.depth is None or self.depth.frame is not self.frame)
        return waits and self.frame is not self.failed

    def collect(self) -> None:
        """Takes the depth that is done, and starts the next: of the frame that is on the screen now."""
        if self.clip_job is not None and self.clip_job.done() and self.message == LOOKING:
            self.message = ""
            self.clip_job.result()
        if self.job is not None and self.job[0].done():
            (job, frame), self.job = self.job, None
            try:
                self.depth = job.result()
            except Exception as error:
                self.message = str(error) if isinstance(error, UserError) else out_of_memory_message(error)
                self.failed = frame
        if self.job is None and self.needs_depth():
            self.job = (self.worker.submit(self.live.predict, self.frame), self.frame)

    def press(self, key: str) -> bool:
        """Does what a key asks for; False to quit."""
        self.look = change_look(self.look, key)
        if key == " ":
            self.pause_or_play()
        elif key and key in "np":
            self.step(1 if key == "n" else -1)
        elif key and key in "fb":
            self.leap(JUMP_SECONDS if key == "f" else -JUMP_SECONDS)
        elif key and key in "+=-" and not self.source.is_live:
            factor = 1 / SPEED_STEP if key == "-" else SPEED_STEP
            percent = round(100 * self.clock.speed * factor)
            cv2.setTrackbarPos(SPEED_BAR, WINDOW, min(max(percent, SLOWEST), FASTEST))
        elif key == "l":
            self.loop = not self.loop
            self.message = "plays again at the end" if self.loop else "stops at the end"
        elif key == "y":
            self.sync = not self.sync
        elif key == "m":
            self.mode = self.live.mode_after(self.mode)
            self.look_over_clip()
        elif key == "s":
            self.save()
        elif key == "v":
            self.record()
        elif key == "h":
            self.help = not self.help
        return key not in ("q", ESCAPE)

    def pause_or_play(self) -> None:
        self.playing = not self.playing
        self.message = "" if self.playing else "paused"
        self.meter.restart()
        if self.playing and self.at_end:
            self.jump(0)
        elif self.frame is not None:
            self.clock.show(self.frame.seconds, runs=self.playing)

    def step(self, frames: int) -> None:
        """One frame on or back, and pause there."""
        if self.source.is_live or self.frame is None:
            return
        self.playing, self.message = False, "paused"
        self.clock.stop()
        self.meter.restart()
        if frames > 0:
            self.wanted = True
        else:
            self.jump(self.frame.index + frames)

    def leap(self, seconds: float) -> None:
        if self.frame is not None:
            self.jump(self.frame.index + round(seconds * self.source.frame_rate))

    def draw(self) -> None:
        """Brings the screen up to date, if anything changed."""
        if self.frame is None:
            return
        ends = self.live.ends(self.depth, self.mode) if self.depth is not None else None
        canvas = self.view.draw(self.frame, self.depth, look=self.look, ends=ends, lines=self.lines(), show_help=self.help)
        if canvas is not None:
            cv2.imshow(WINDOW, canvas)
            if self.recorder is not None:
                self.recorder.add(canvas)

    def lines(self) -> list[str]:
        """The text below the pictures."""
        height, width = self.frame.image_bgr.shape[:2]
        total = f" of {self.source.frame_count}" if self.source.frame_count else ""
        network = self.model.network_size(height, width)
        title = f"frame {self.frame.index + 1}{total},  {self.frame.seconds:.2f} s,  {width} x {height} "
        title += f"(network {network[1]} x {network[0]}),  {self.source.name}"
        facts = []
        if (frame_seconds := self.meter.seconds()) is not None:
            facts.append(f"frame {1000 * frame_seconds:.0f} ms")
        if self.depth is not None:
            behind = self.frame.index - self.depth.frame.index
            late = f" ({behind} behind)" if behind > 0 else ""
            facts.append(f"depth {1000 * self.depth.seconds:.0f} ms{late}")
        facts += [f"dropped {self.dropped}", f"skipped {self.source.skipped}", f"speed {100 * self.clock.speed:.0f}%"]
        facts += [f"colours: {self.mode}", "waits for depth" if self.sync else "depth when ready"]
        return [title, ",  ".join(facts), self.message or ("recording" if self.recorder else "h: help")]

    def save(self) -> None:
        """Writes the newest depth and its frame, in the colours of the screen, never over older files."""
        if self.depth is None:
            self.message = "nothing to save yet"
            return
        frame, depth_map = self.depth.frame, self.depth.depth_map
        target = free_target(SAVE_FOLDER / f"{safe_name(self.source.name)}_{frame.index:06d}", DEFAULT_SAVE)
        facts = {"video": self.source.name, "frame": frame.index, "seconds": frame.seconds, "region": self.source.crop}
        facts |= self.model.facts(frame.image_bgr)
        ends = self.live.ends(self.depth, self.mode)
        try:
            save_depth(depth_map, frame.image_bgr, target, kinds=DEFAULT_SAVE, look=self.look, facts=facts, ends=ends)
            self.message = f"saved as {target}*"
        except UserError as error:
            self.message = str(error)
        print(self.message)

    def record(self) -> None:
        """Starts or ends the recording of the window."""
        if not self.allow_recording:
            self.message = "recording is off: start with --allow_recording"
        elif self.recorder is None:
            make_folder(SAVE_FOLDER)
            self.recorder = Recorder(free_path(SAVE_FOLDER / f"{safe_name(self.source.name)}_recording.mp4"))
            self.message = ""
        else:
            self.stop_recording()

    def stop_recording(self) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            recorder.close()
            self.message = f"recorded {recorder.writer.path}"
            print(self.message)
