"""A scene under construction: solids in a list, each with a place, a size and a material.

Layouts run in plain Python with the scene's own random generator; the lists become tensors in render.py.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from random import Random

Vector = tuple[float, float, float]

# The solids. Each fills the cube -1..1 of its own coordinates, which the size stretches.
BOX, ELLIPSOID, CONE, LEAVES, CARD = range(5)
SHAPE_NAMES = ("box", "ellipsoid", "cone", "leaves", "card")

# Columns of a solid's row: centre, the three axes in the world (unit vectors), half sizes along them, how much of the
# radius a cone loses from bottom to top (0: cylinder), material, and whether it casts shadows.
SOLID_COLUMNS = 3 + 9 + 3 + 1 + 1 + 1


class Frame:
    """Where an object stands: an origin and three axes, in world coordinates."""

    __slots__ = ("origin", "x_axis", "y_axis", "z_axis")

    def __init__(
        self, origin: Vector, x_axis: Vector = (1, 0, 0), y_axis: Vector = (0, 1, 0), z_axis: Vector = (0, 0, 1)
    ):
        self.origin, self.x_axis, self.y_axis, self.z_axis = origin, x_axis, y_axis, z_axis

    def point(self, x: float, y: float, z: float) -> Vector:
        """World coordinates of a point of this frame."""
        o, a, b, c = self.origin, self.x_axis, self.y_axis, self.z_axis
        return (
            o[0] + a[0] * x + b[0] * y + c[0] * z,
            o[1] + a[1] * x + b[1] * y + c[1] * z,
            o[2] + a[2] * x + b[2] * y + c[2] * z,
        )

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> "Frame":
        """The frame moved to a point of its own, then turned about its z axis (radians, counter-clockwise from
        above)."""
        if not yaw:
            return Frame(self.point(x, y, z), self.x_axis, self.y_axis, self.z_axis)
        cos, sin, a, b = math.cos(yaw), math.sin(yaw), self.x_axis, self.y_axis
        x_axis = (a[0] * cos + b[0] * sin, a[1] * cos + b[1] * sin, a[2] * cos + b[2] * sin)
        y_axis = (b[0] * cos - a[0] * sin, b[1] * cos - a[1] * sin, b[2] * cos - a[2] * sin)
        return Frame(self.point(x, y, z), x_axis, y_axis, self.z_axis)

    def tilted(self, pitch: float = 0.0, roll: float = 0.0) -> "Frame":
        """The frame turned about its x axis (positive pitch: y rises), then about its y axis (positive roll: x
        sinks)."""
        pitched = Frame(self.origin, self.y_axis, self.z_axis, self.x_axis).at(
            yaw=pitch
        )  # turning about "z" is about x
        x_axis, y_axis, z_axis = pitched.z_axis, pitched.x_axis, pitched.y_axis
        rolled = Frame(self.origin, z_axis, x_axis, y_axis).at(yaw=roll)
        return Frame(self.origin, rolled.y_axis, rolled.z_axis, rolled.x_axis)


@dataclass
class Camera:
    """A pinhole camera. The field of view is that of the picture's diagonal, in radians; pitch is positive upwards."""

    position: Vector
    yaw: float
    pitch: float
    roll: float
    diagonal_view: float

    @staticmethod
    def towards(position: Vector, target: Vector, *, roll: float, diagonal_view: float) -> "Camera":
        """The camera at `position` that has `target` in the middle of its picture."""
        east, north, up = (t - p for t, p in zip(target, position, strict=True))
        yaw = math.atan2(-east, north)  # zero looks along y
        return Camera(position, yaw, math.atan2(up, math.hypot(east, north)), roll, diagonal_view)


@dataclass
class Light:
    """The light that casts shadows: a sun (direction towards it) or a lamp (position). Colour is linear RGB."""

    colour: Vector
    direction: Vector | None = None
    position: Vector | None = None
    centre: Vector = (0.0, 0.0, 0.0)  # of a sun's shadow map
    radius: float = 10.0  # half side of a sun's shadow map, metres
    softness: float = 0.02  # blur of the shadow's edge, as a part of the shadow map


@dataclass
class Scene:
    """Everything that render.py needs to know about one picture."""

    kind: str
    random: Random
    solids: list[list[list[float]]] = field(default_factory=lambda: [[] for _ in SHAPE_NAMES])  # rows by shape
    groups: list[list[int]] = field(
        default_factory=lambda: [[] for _ in SHAPE_NAMES]
    )  # object of each row, 0: building
    materials: list[tuple[float, ...]] = field(default_factory=list)
    group: int = 0  # the object that solids are added to now
    objects: int = 0  # how many there are
    camera: Camera | None = None
    light: Light | None = None
    fill: tuple[Vector, Vector] = ((0.0, 0.0, 3.0), (0.0, 0.0, 0.0))  # position and colour of a lamp without shadows
    ambient_up: Vector = (0.5, 0.5, 0.5)  # light from above, linear RGB
    ambient_down: Vector = (0.3, 0.3, 0.3)  # light that the ground throws back
    horizon: Vector = (0.8, 0.85, 0.9)  # sky colours, linear RGB
    zenith: Vector = (0.3, 0.5, 0.9)
    clouds: float = 0.0  # 0..1
    cloud_shift: float = 0.0  # where in their pattern
    fog: float = 0.0  # density per metre
    contact_radius: float = 0.3  # reach of the contact shading, metres
    sensor: object = None  # what the camera adds to the picture: effects.Sensor

    @contextmanager
    def one_object(self):
        """Solids added inside belong to one object, which `clear_view` removes as a whole. Objects inside objects do
        not count."""
        if self.group:
            yield
            return
        self.objects += 1
        self.group = self.objects
        yield
        self.group = 0

    def _add(self, shape, centre, axes, half_sizes, material, *, taper=0.0, casts=True):
        row = [*centre, *axes[0], *axes[1], *axes[2], *half_sizes, taper, material, float(casts)]
        self.solids[shape].append(row)
        self.groups[shape].append(self.group)

    def box(self, frame: Frame, centre: Vector, size: Vector, material: int, *, casts: bool = True) -> None:
        """A box; `size` is the whole extent along the frame's axes, metres."""
        half = (0.5 * size[0], 0.5 * size[1], 0.5 * size[2])
        self._add(BOX, frame.point(*centre), (frame.x_axis, frame.y_axis, frame.z_axis), half, material, casts=casts)

    def ellipsoid(self, frame: Frame, centre: Vector, size: Vector, material: int, *, leafy: bool = False) -> None:
        """An ellipsoid of the given extent; `leafy` cuts it by the alpha of its texture, as the outside of a tree."""
        half = (0.5 * size[0], 0.5 * size[1], 0.5 * size[2])
        shape = LEAVES if leafy else ELLIPSOID
        self._add(shape, frame.point(*centre), (frame.x_axis, frame.y_axis, frame.z_axis), half, material)

    def card(self, frame: Frame, centre: Vector, size: tuple[float, float], material: int) -> None:
        """A flat picture standing in the frame's x-z plane, cut out by the alpha of its texture."""
        half = (0.5 * size[0], 0.5 * size[1], 0.01)
        minus_y = (-frame.y_axis[0], -frame.y_axis[1], -frame.y_axis[2])
        self._add(CARD, frame.point(*centre), (frame.x_axis, frame.z_axis, minus_y), half, material)

    def cylinder(
        self,
        frame: Frame,
        base: Vector,
        radius: float,
        height: float,
        material: int,
        *,
        top_radius: float | None = None,
    ) -> None:
        """An upright cylinder or cone on the centre of its base; the top may be narrower or wider."""
        top = radius if top_radius is None else top_radius
        axes = (frame.x_axis, frame.y_axis, frame.z_axis)
        if top > radius:  # a cone's row starts with its wide end
            radius, top = top, radius
            axes = (frame.x_axis, tuple(-v for v in frame.y_axis), tuple(-v for v in frame.z_axis))
        centre = frame.point(base[0], base[1], base[2] + 0.5 * height)
        self._add(CONE, centre, axes, (radius, radius, 0.5 * height), material, taper=1.0 - top / radius)

    def rod(
        self, frame: Frame, start: Vector, end: Vector, radius: float, material: int, *, end_radius: float | None = None
    ) -> None:
        """A cylinder or narrowing cone between two points of the frame: legs, poles, branches."""
        a, b = frame.point(*start), frame.point(*end)
        delta = (b[0] - a[0], b[1] - a[1], b[2] - a[2])
        length = math.sqrt(delta[0] ** 2 + delta[1] ** 2 + delta[2] ** 2) + 1e-9
        z = (delta[0] / length, delta[1] / length, delta[2] / length)
        side = (-z[1], z[0], 0.0) if abs(z[2]) < 0.99 else (0.0, -z[2], z[1])
        norm = math.sqrt(side[0] ** 2 + side[1] ** 2 + side[2] ** 2)
        x = (side[0] / norm, side[1] / norm, side[2] / norm)
        y = (z[1] * x[2] - z[2] * x[1], z[2] * x[0] - z[0] * x[2], z[0] * x[1] - z[1] * x[0])
        centre = (0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]), 0.5 * (a[2] + b[2]))
        taper = 0.0 if end_radius is None else max(0.0, 1.0 - end_radius / radius)
        self._add(CONE, centre, (x, y, z), (radius, radius, 0.5 * length), material, taper=taper)

    def limb(self, frame: Frame, start: Vector, end: Vector, radius: float, material: int) -> None:
        """A long ellipsoid between two points, as arms and legs."""
        self.rod(frame, start, end, radius, material)
        row, group = self.solids[CONE].pop(), self.groups[CONE].pop()
        row[12:15] = [radius, radius, row[14] + 0.6 * radius]
        self.solids[ELLIPSOID].append(row)
        self.groups[ELLIPSOID].append(group)

    def is_free(self, x: float, y: float, radius: float) -> bool:
        """Whether no object stands within `radius` metres of a place on the floor, judged by the circles around its
        solids."""
        for rows, groups in zip(self.solids, self.groups, strict=True):
            for row, group in zip(rows, groups, strict=True):
                if group and row[2] < 1.3:
                    reach = radius + 0.7 * max(row[12], row[13])
                    if abs(row[0] - x) < reach and abs(row[1] - y) < reach and row[14] + row[12] > 0.05:
                        return False
        return True

    def things_in_view(self, farthest: float) -> int:
        """How many objects have their middle in the camera's view cone, nearer than `farthest` metres."""
        camera, seen = self.camera, set()
        east, north, up = -math.sin(camera.yaw), math.cos(camera.yaw), math.sin(camera.pitch)
        flat, cosine = math.cos(camera.pitch), math.cos(0.4 * camera.diagonal_view)
        for rows, groups in zip(self.solids, self.groups, strict=True):
            for row, group in zip(rows, groups, strict=True):
                if group and group not in seen:
                    x, y, z = (row[i] - camera.position[i] for i in range(3))
                    distance = math.sqrt(x * x + y * y + z * z)
                    if distance < farthest and x * east * flat + y * north * flat + z * up > cosine * distance:
                        seen.add(group)
        return len(seen)

    def clear_view(self, margin: float) -> None:
        """Remove every object (not the building, group 0) that comes nearer than `margin` metres to the camera."""
        position = self.camera.position
        blocked = set()
        for rows, groups in zip(self.solids, self.groups, strict=True):
            for row, group in zip(rows, groups, strict=True):
                if not group or group in blocked:
                    continue
                dx, dy, dz = position[0] - row[0], position[1] - row[1], position[2] - row[2]
                if (
                    abs(dx * row[3] + dy * row[4] + dz * row[5]) < row[12] + margin
                    and abs(dx * row[6] + dy * row[7] + dz * row[8]) < row[13] + margin
                    and abs(dx * row[9] + dy * row[10] + dz * row[11]) < row[14] + margin
                ):
                    blocked.add(group)
        for shape in range(len(self.solids)):
            keep = [i for i, group in enumerate(self.groups[shape]) if group not in blocked]
            if len(keep) < len(self.groups[shape]):
                self.solids[shape] = [self.solids[shape][i] for i in keep]
                self.groups[shape] = [self.groups[shape][i] for i in keep]


def thing(put: Callable) -> Callable:
    """Decorator of functions (scene, frame, ...) that add solids: what they add is one object."""

    @wraps(put)
    def put_one_object(scene: Scene, *args, **options):
        with scene.one_object():
            put(scene, *args, **options)

    return put_one_object
