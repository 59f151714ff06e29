"""The scene in one browser: a relief or points, the photograph's camera, and where the viewer's camera stands.

Everything is sent through the browser's own handle, so that no other browser sees it. Axes as in `geometry`.
"""

import math
import time

import cv2
import numpy as np
import viser

from .geometry import Pinhole
from .mesh_files import at_most, encode_texture, glb_bytes
from .viewer_render import BACKGROUNDS
from .viewer_scene import MESH, NORMALS, Settings, Shot, cloud_of, colours_of, depth_ends, spacing_of, surface_of
from .viewer_tone import GAIN, before_tone_mapping

FACING = (0.0, 1.0, 0.0, 0.0)  # quaternion: the photograph's camera (y down, z forward) in the scene (y up, z backward)
FRUSTUM_SHARE = 0.12  # how far away the picture in the camera's pyramid is, as a share of the nearest depth
FRUSTUM_PICTURE = 256  # pixels of its longer side
SETTLE_SECONDS = 0.7  # a replaced relief stays for so long: the browser shows the new one only when it has read it
PAGE_TEXTURE = 2048  # pixels of a side, on the page
MARGIN = 1.08  # around the picture, when one looks through its camera
ASIDE_DEGREES, ABOVE_DEGREES = (28.0, 9.0), (0.0, 50.0)  # yaw and pitch of the other views
HOME_DEGREES = (6.0, 4.0)
FARTHER_BACK = 1.4  # times the distance of the middle depth, except when looking through the camera


class SceneNodes:
    """What one browser shows. To be used by one thread, which also calls `settle` now and then."""

    def __init__(self, client: viser.ClientHandle):
        self.client = client
        self.cloud: viser.PointCloudHandle | None = None
        self.reliefs: list[viser.GlbHandle] = []  # the newest last; older ones wait to be removed
        self.relief_number, self.relief_at = 0, 0.0
        self.frustum: viser.CameraFrustumHandle | None = None
        self.background: str | None = None
        self.texture: tuple[tuple, bytes] | None = None  # what it was made of, and the JPEG
        self.ends, self.camera = (1.0, 2.0, 4.0), Pinhole.centred(4, 3, 4.0)

    def show(self, shot: Shot, settings: Settings, metres: np.ndarray, *, moving: bool) -> None:
        """Bring the scene up to date. moving: a frame of a video that plays, which is shown as points and in place."""
        self.ends, self.camera = depth_ends(metres), shot.camera(settings.focal)
        if settings.shape == MESH and not moving:
            self._show_relief(self._make_relief(shot, settings, metres))
            self._hide_cloud()
        else:
            points, colours_rgb = cloud_of(shot, settings, metres)
            size = settings.point_size * spacing_of(shot, settings, metres)
            self._show_cloud(points, colours_rgb, size, in_place=moving)
            self._remove_reliefs(keep=0)
        self._show_frustum(shot, settings)
        if self.background != settings.background:
            self.background = settings.background
            colour_rgb = np.array(BACKGROUNDS[settings.background][::-1], np.uint8)
            self.client.scene.set_background_image(np.tile(colour_rgb, (4, 4, 1)), format="png")

    def _make_relief(self, shot: Shot, settings: Settings, metres: np.ndarray) -> bytes:
        """The relief as .glb with colours for this page; empty where there is no surface at all."""
        surface = surface_of(shot, settings, metres)
        if len(surface.faces) == 0:
            return b""
        made_of = (shot, settings.colour_by, settings.colour_map)
        if self.texture is None or self.texture[0] != made_of or settings.colour_by == NORMALS:
            colours_bgr = at_most(colours_of(shot, settings, metres), PAGE_TEXTURE)
            self.texture = (made_of, encode_texture(before_tone_mapping(colours_bgr)))
        return glb_bytes(surface, self.texture[1], (metres.shape[1], metres.shape[0]), gain=GAIN)

    def _show_relief(self, glb: bytes) -> None:
        """A relief under a new name, beside the one that it replaces: a renewed one would be gone while it loads."""
        if glb:
            self.relief_number += 1
            name = f"/relief_{self.relief_number % 3}"
            self.reliefs.append(self.client.scene.add_glb(name, glb, cast_shadow=False, receive_shadow=False))
            self.relief_at = time.monotonic()
        self._remove_reliefs(keep=2 if glb else 0)

    def _remove_reliefs(self, *, keep: int) -> None:
        while len(self.reliefs) > keep:
            self.reliefs.pop(0).remove()

    def settle(self) -> None:
        """Takes away the replaced relief, once its successor has had the time to appear."""
        if self.is_settling and time.monotonic() - self.relief_at > SETTLE_SECONDS:
            self._remove_reliefs(keep=1)

    @property
    def is_settling(self) -> bool:
        """Whether `settle` has something to do."""
        return len(self.reliefs) > 1

    def _show_cloud(self, points: np.ndarray, colours_rgb: np.ndarray, size: float, *, in_place: bool) -> None:
        """Points, in the node that is there already where that saves sending it anew."""
        if self.cloud is not None and in_place and self.cloud.precision == "float16":
            with self.client.atomic():  # points and colours belong together
                self.cloud.points, self.cloud.colors = points, colours_rgb
                self.cloud.point_size, self.cloud.visible = size, True
            return
        self.cloud = self.client.scene.add_point_cloud(
            "/cloud",
            points,
            colours_rgb,
            point_size=size,
            point_shape="square",
            point_shading="flat",
            precision="float16" if in_place else "float32",  # half the bytes for a frame that is soon replaced
        )

    def _hide_cloud(self) -> None:
        if self.cloud is not None:
            self.cloud.remove()
            self.cloud = None

    def _show_frustum(self, shot: Shot, settings: Settings) -> None:
        """The photograph's camera with the picture in it."""
        if not settings.frustum:
            if self.frustum is not None:
                self.frustum.remove()
                self.frustum = None
            return
        height, width = shot.image_bgr.shape[:2]
        half_up, aspect = height / 2 / self.camera.fy, width * self.camera.fy / (height * self.camera.fx)
        distance = FRUSTUM_SHARE * self.ends[0]
        # viser makes pyramids of equal volume: undo that, so that the picture stands at this distance.
        scale = distance * math.cbrt(half_up * half_up * aspect / 3)
        shrink = min(1.0, FRUSTUM_PICTURE / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image_rgb = np.ascontiguousarray(cv2.resize(shot.image_bgr, size, interpolation=cv2.INTER_AREA)[..., ::-1])
        if self.frustum is None:
            self.frustum = self.client.scene.add_camera_frustum(
                "/camera",
                fov=2 * math.atan(half_up),
                aspect=aspect,
                scale=scale,
                thickness=2.0,
                thickness_units="screen",
                color=(255, 160, 40),
                image=image_rgb,
                wxyz=FACING,
                cast_shadow=False,
                receive_shadow=False,
            )
            return
        self.frustum.fov, self.frustum.aspect, self.frustum.scale = 2 * math.atan(half_up), aspect, scale
        self.frustum.image = image_rgb

    def look(self, view: str) -> None:
        """Put the viewer's camera somewhere: "camera" (through the photograph's), "aside", "above" or "home"."""
        nearest, middle, farthest = self.ends
        yaw, pitch = {"aside": ASIDE_DEGREES, "above": ABOVE_DEGREES, "home": HOME_DEGREES}.get(view, (0.0, 0.0))
        back = 1.0 if view == "camera" else FARTHER_BACK
        yaw, pitch = math.radians(yaw), math.radians(pitch)
        away = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
        pivot = np.array([0.0, 0.0, -middle])
        camera = self.client.camera
        with self.client.atomic():
            camera.up_direction = (0.0, 1.0, 0.0)
            camera.position = tuple(pivot + back * middle * away)
            camera.look_at = tuple(pivot)
            camera.fov = self._view_angle(camera.aspect)
            camera.near, camera.far = nearest / 100, 20 * farthest

    def _view_angle(self, aspect: float) -> float:
        """The vertical angle, in radians, in which the whole picture is seen in a window of this aspect."""
        across, down = (math.tan(math.radians(angle) / 2) for angle in self.camera.view_degrees)
        return min(2 * math.atan(MARGIN * max(down, across / max(aspect, 0.1))), math.radians(150))
