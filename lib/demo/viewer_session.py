"""One browser: its controls, its scene, and the two threads that keep them together.

The player finds the next picture and its depth; the painter turns the newest shot and the newest settings into a scene.
Both look at what is newest when they have time, so that nothing ever queues up behind a control that moves quickly.
"""

import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import viser

from ..errors import UserError
from .frames import FrameSource
from .geometry import NEVER_TEAR
from .pictures import PictureFile
from .save import encode_png
from .viewer_controls import Controls, ModelFacts, SourceFacts
from .viewer_export import export_bytes, write_turntable
from .viewer_inputs import DepthService, Region
from .viewer_nodes import SceneNodes
from .viewer_pace import Pace
from .viewer_pictures import pictures_html
from .viewer_player import Asked, StillPlayer, VideoPlayer, first_focal, first_step
from .viewer_scene import Settings, Shot, metres_of

STILL_INTERVAL = 0.12  # seconds between two scenes of a still: a browser has to read each relief
PICTURES_INTERVAL = 0.4  # between two updates of the pictures beside the scene, while a video plays
RENDER_PATIENCE = 20.0
CLOSING_PATIENCE = 5.0


@dataclass(frozen=True)
class Source:
    """What all browsers look at: pictures, or (open_frames) a video that each opens for itself.

    mask: H W of a video's frames. region: the part of every picture or frame that is used; full_wh: size of a video's
    whole frames. view_degrees, step: asked for on the command line, instead of the picture's own.
    """

    facts: SourceFacts
    files: tuple[PictureFile, ...] = ()
    open_frames: Callable[[], FrameSource] | None = None
    mask_path: str | None = None
    mask: np.ndarray | None = None
    region: Region | None = None
    full_wh: tuple[int, int] | None = None
    view_degrees: float | None = None
    step: int | None = None


class Session:
    """One browser, from its arrival until `close`."""

    def __init__(self, client: viser.ClientHandle, service: DepthService, source: Source, defaults: Settings):
        self.client, self.service, self.source = client, service, source
        self.shot, self.moving, self.closed = None, False, False
        self.painted: tuple | None = None
        self.is_home, self.pictures_at = False, 0.0
        self.wake, self.updates = threading.Event(), 0  # updates: how many scenes were made
        rule = service.model.dpt_imgproc.rule
        model = ModelFacts(service.model.dpt_model.output.quantity, rule.side, rule.multiple, rule.fit == "fixed")
        self.panel = client.gui.add_panel()
        with self.panel.add_tab("Pictures", viser.Icon.PHOTO):
            self.pictures = client.gui.add_html("")
        self.panel.dock_left()
        client.gui.main_panel.dock_right()  # beside the scene instead of over it
        self.controls = Controls(client.gui, defaults, model, source.facts, self.change)
        self.nodes, self.pace = SceneNodes(client), Pace(client)
        self.player = self._make_player()
        self._bind()
        self.painter = threading.Thread(target=self._paint, name="scene of one browser", daemon=True)
        self.painter.start()
        self.player.start()

    def _make_player(self) -> StillPlayer | VideoPlayer:
        callbacks = {"asked": self.asked, "show": self.show, "fail": self.fail, "opened": self.open_picture}
        source = self.source
        if source.open_frames is None:
            return StillPlayer(source.files, self.service, mask_path=source.mask_path, region=source.region, **callbacks)
        place = {"mask": source.mask, "region": source.region, "full_wh": source.full_wh}
        return VideoPlayer(source.open_frames, self.service, moved=self.move_bar, **place, **callbacks)

    def _bind(self) -> None:
        bind = self.controls.bind
        names = self.source.facts.names
        bind("Picture", lambda event: self.player.choose(names.index(event.target.value)))
        bind("Play", lambda _: self.play(not self.player.playing))
        bind("Frame", lambda event: self.player.seek(int(event.target.value)) if event.client is not None else None)
        bind("Every frame", lambda _: self.player.play(self.player.playing))  # the clock begins anew
        bind("View", lambda event: self.nodes.look(event.target.value))
        bind("Save", lambda _: self.task("Saving", self.save))
        bind("Screenshot", lambda _: self.task("Taking a picture", self.save_screenshot))
        bind("Turntable", lambda _: self.task("Drawing the turntable video", self.save_turntable))

    # What the player calls, in its thread.

    def asked(self) -> Asked:
        return Asked(
            self.controls.settings(), bool(self.controls.value("Every frame", False)), self.controls.value("Repeat", False)
        )

    def open_picture(self, size_wh: tuple[int, int], full_wh: tuple[int, int], focal: float | None) -> None:
        """Another picture is about to come: its size, that of the whole picture, and the latter's focal length."""
        source = self.source
        self.controls.set_picture(full_wh, first_focal(full_wh, focal, source.view_degrees))
        self.controls.set_detail(first_step(size_wh, source.step, is_video=source.facts.is_video))
        self.is_home = False
        self._say("Computing the depth ...")

    def show(self, shot: Shot, moving: bool, text: str) -> None:
        """The newest shot."""
        self.shot, self.moving = shot, moving
        if not moving or time.monotonic() - self.pictures_at > PICTURES_INTERVAL:
            self._say(text)
        self._show_playing(moving)
        self.wake.set()

    def fail(self, sentence: str) -> None:
        """Something went wrong; the scene stays as it is."""
        self._say(f"**{sentence}**")
        self._show_playing(False)

    def move_bar(self, index: int) -> None:
        """The bar of the video's frames follows the video."""
        bar = self.controls.handles.get("Frame")
        if bar is not None and not self.closed:
            bar.value = min(index, int(bar.max))

    def _say(self, text: str) -> None:
        if not self.closed and self.controls.status.content != text:
            self.controls.status.content = text

    def _show_playing(self, playing: bool) -> None:
        button = self.controls.handles.get("Play")
        label = "Pause" if playing else "Play"
        if button is not None and not self.closed and button.label != label:
            button.label, button.icon = label, viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    # What the controls call, in viser's threads.

    def change(self) -> None:
        """A control has moved."""
        self.wake.set()
        if not self.closed and getattr(self, "player", None) is not None:
            self.player.wake.set()

    def play(self, playing: bool) -> None:
        self.player.play(playing)
        self._show_playing(playing)
        if not playing and self.shot is not None:
            self.moving = False  # the last frame may be shown as a mesh now
            self.wake.set()

    def task(self, title: str, act: Callable[[], None]) -> None:
        """Does something that takes its time, and says so in the corner of the page."""
        if self.shot is None:
            return
        note = self.client.add_notification(title, "", loading=True, with_close_button=False)
        try:
            act()
        except (UserError, RuntimeError, TimeoutError, OSError) as error:
            self.client.add_notification("That did not work", str(error), color="red")
        finally:
            if not self.closed:
                note.remove()

    def settings(self) -> Settings:
        """What the controls say, for the shot that is there: a frame of a video is thinned out already."""
        settings = self.controls.settings()
        if not self.source.facts.is_video:
            return settings
        edge = settings.edge * settings.step if settings.edge < NEVER_TEAR else NEVER_TEAR
        return replace(settings, step=1, edge=min(edge, NEVER_TEAR))

    def save(self) -> None:
        """The scene in the chosen format, as a download."""
        file_format = self.controls.value("Save as")
        data = export_bytes(self.shot, self.settings(), file_format)
        name = f"{self.shot.name}_depth16.png" if file_format == "png" else f"{self.shot.name}.{file_format}"
        self.client.send_file_download(name, data, save_immediately=True)

    def save_screenshot(self) -> None:
        """What the browser shows, without the panels."""
        camera = self.client.camera
        render = self.client.get_render(
            camera.image_height, camera.image_width, transport_format="png", timeout=RENDER_PATIENCE
        )
        name = f"{self.shot.name}_screenshot.png"
        image_bgr = cv2.cvtColor(np.ascontiguousarray(render[..., :3]), cv2.COLOR_RGB2BGR)
        self.client.send_file_download(name, encode_png(image_bgr, Path(name)), save_immediately=True)

    def save_turntable(self) -> None:
        """A video that is drawn here, not in the browser."""
        shot, settings = self.shot, self.settings()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{shot.name}_turntable.mp4")
            write_turntable(path, shot, settings)
            self.client.send_file_download(path.name, path.read_bytes(), save_immediately=True)

    # The painter's thread.

    def _paint(self) -> None:
        while not self.closed:
            self.wake.wait(0.2 if self.nodes.is_settling else None)
            self.wake.clear()
            if self.closed:
                break
            start = time.monotonic()
            try:
                self.nodes.settle()
                self.pace.wait()
                if self.shot is not None and not self.closed and self.paint(self.shot, self.moving):
                    self.pace.sent()
            except Exception:  # noqa: BLE001 - one scene that fails must not end this browser's
                if not self.closed:
                    traceback.print_exc()
            if not self.moving and not self.closed:
                time.sleep(max(0.0, STILL_INTERVAL - (time.monotonic() - start)))

    def paint(self, shot: Shot, moving: bool) -> bool:
        """The scene of this shot with the controls as they are; False if that is the scene already."""
        settings = self.settings()
        if self.painted is not None and self.painted[0] is shot and self.painted[1:] == (settings, moving):
            return False
        metres = metres_of(shot, settings)
        self.nodes.show(shot, settings, metres, moving=moving)
        self.painted = (shot, settings, moving)
        self.updates += 1
        if not self.is_home:
            self.is_home = True
            self.nodes.look("home")
        if not moving or time.monotonic() - self.pictures_at > PICTURES_INTERVAL:
            self.pictures_at = time.monotonic()
            self.pictures.content = pictures_html(shot, settings, metres)
        return True

    def close(self) -> None:
        """Ends both threads and lets go of everything."""
        self.closed = True
        self.wake.set()
        self.player.close()
        self.pace.close()
        for thread in (self.player, self.painter):
            if thread is not threading.current_thread():
                thread.join(CLOSING_PATIENCE)
        self.shot = self.painted = None
