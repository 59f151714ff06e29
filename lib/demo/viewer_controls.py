"""The controls of one browser: what can be changed, and the settings that follow from it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import viser

from .geometry import NEVER_TEAR, DepthRange, focal_of_view, view_of_focal
from .mesh_files import MESH_FORMATS
from .options import COLOUR_MAPS
from .viewer_help import HINTS, SHORT_FORMULAS, help_text
from .viewer_render import BACKGROUNDS
from .viewer_scene import COLOURS, SHAPES, Settings

VIEWS = ("camera", "aside", "above")
SAVE_FORMATS = (*MESH_FORMATS, "png", "npy")
SMALLEST_GAP = 1.01  # far is at least so many times near
NARROWEST, WIDEST = 2.0, 150.0  # degrees
LARGEST_SIZE = 3  # of the network's input, as a multiple of the release's


@dataclass(frozen=True)
class ModelFacts:
    """What the controls need to know of a model. side, multiple: of its input, in pixels; is_fixed: it can do no other."""

    quantity: str
    side: int
    multiple: int
    is_fixed: bool


@dataclass(frozen=True)
class SourceFacts:
    """What there is to choose from. names: of pictures, none for a video. frame_count: of a video, None where unknown."""

    names: tuple[str, ...] = ()
    is_video: bool = False
    is_live: bool = False
    frame_count: int | None = None


class Controls:
    """Builds the panel for one browser and reads it.

    changed: called whenever the scene may look different. Everything else is given by `bind`.
    """

    def __init__(
        self, gui: viser.GuiApi, defaults: Settings, model: ModelFacts, source: SourceFacts, changed: Callable[[], None]
    ):
        self.gui, self.defaults, self.model, self.source, self.changed = gui, defaults, model, source, changed
        self.handles: dict[str, viser.GuiInputHandle] = {}
        self.picture_wh, self.focal = (1, 1), defaults.focal
        tabs = gui.add_tab_group()
        with tabs.add_tab("Scene"):
            self._add_source()
            self._add_scene()
        with tabs.add_tab("Depth"):
            self._add_depth()
            self._add_camera()
        with tabs.add_tab("Save"):
            self._add_save()
        with tabs.add_tab("Help"):
            gui.add_markdown(help_text(model.quantity))

    def _add(self, name: str, handle: viser.GuiInputHandle, *, updates: bool = True) -> None:
        self.handles[name] = handle
        if updates:
            handle.on_update(lambda _: self.changed())

    def _slider(self, name: str, low: float, high: float, step: float, value: float, *, visible: bool = True) -> None:
        value = min(max(value, low), high)
        self._add(name, self.gui.add_slider(name, low, high, step, value, hint=HINTS[name], visible=visible))

    def _choice(self, name: str, options: tuple[str, ...], value: str, *, updates: bool = True) -> None:
        handle = self.gui.add_dropdown(name, options, initial_value=value, hint=HINTS[name])
        self._add(name, handle, updates=updates)

    def _add_source(self) -> None:
        source = self.source
        if source.is_video:
            self.handles["Play"] = self.gui.add_button("Play", hint=HINTS["Play"], icon=viser.Icon.PLAYER_PLAY)
            if not source.is_live and source.frame_count:
                last = max(source.frame_count - 1, 1)
                self.handles["Frame"] = self.gui.add_slider("Frame", 0, last, 1, 0, hint=HINTS["Frame"])
                self.handles["Repeat"] = self.gui.add_checkbox("Repeat", True, hint=HINTS["Repeat"])
            self.handles["Every frame"] = self.gui.add_checkbox("Every frame", False, hint=HINTS["Every frame"])
            self._slider("Steadiness", 0.0, 0.95, 0.05, self.defaults.steadiness)
        elif len(source.names) > 1:
            self._choice("Picture", source.names, source.names[0], updates=False)
        self.status = self.gui.add_markdown("Computing the depth ...")

    def _add_scene(self) -> None:
        first = self.defaults
        self._choice("Shape", SHAPES, first.shape)
        self._choice("Colours", COLOURS, first.colour_by)
        self._choice("Colour map", COLOUR_MAPS, first.colour_map)
        self._slider("Edge threshold", 0.005, NEVER_TEAR, 0.005, first.edge)
        self._slider("Decimation", 1, 16, 1, first.step)
        self._slider("Point size", 0.2, 6.0, 0.1, first.point_size)
        self._slider("Smoothing", 0.0, 1.0, 0.05, first.smoothing)
        self._choice("Background", tuple(BACKGROUNDS), first.background)
        self._add("Camera", self.gui.add_checkbox("Camera", first.frustum, hint=HINTS["Camera"]))

    def _add_depth(self) -> None:
        depth_range, is_metric = self.defaults.depth_range, self.model.quantity == "metres"
        self.gui.add_markdown(SHORT_FORMULAS[self.model.quantity])
        near, far = depth_range.near, depth_range.far
        near_top = max(far, near) if is_metric else max(10.0, near)
        far_top = max(far, 1.0) if is_metric else max(100.0, far)
        self._slider("Near", 0.01 if is_metric else min(0.1, near), near_top, 0.01, near)
        self._slider("Far", 0.1, far_top, 0.1, far)
        self._slider("Scale", 0.05, max(4.0, depth_range.scale), 0.01, depth_range.scale)
        most = max(5.0 if is_metric else 1.0, abs(depth_range.shift))
        self._slider("Shift", -most, most, 0.01, depth_range.shift)
        if not self.model.is_fixed:
            multiple, side = self.model.multiple, self.defaults.side_length or self.model.side
            low, high = 4 * multiple, LARGEST_SIZE * self.model.side // multiple * multiple
            self._slider("Model input", low, max(high, side), multiple, side // multiple * multiple)

    def _add_camera(self) -> None:
        view = self.gui.add_slider("Field of view", NARROWEST, WIDEST, 0.1, 60.0, hint=HINTS["Field of view"])
        focal = self.gui.add_number("Focal length", self.focal, min=1.0, step=0.1, hint=HINTS["Focal length"])
        self.handles |= {"Field of view": view, "Focal length": focal}

        @view.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:  # moved by a person, not by the line below
                self.set_focal(focal_of_view(view.value, self.picture_wh[0]))
                self.changed()

        @focal.on_update
        def _(event: viser.GuiEvent) -> None:
            if event.client is not None:
                self.set_focal(focal.value)
                self.changed()

        self.handles["View"] = self.gui.add_button_group("View", VIEWS, hint=HINTS["View"])

    def _add_save(self) -> None:
        self._choice("Save as", SAVE_FORMATS, SAVE_FORMATS[0], updates=False)
        for name, icon in (
            ("Save", viser.Icon.DOWNLOAD),
            ("Screenshot", viser.Icon.CAMERA),
            ("Turntable", viser.Icon.ROTATE_360),
            ("Reset", viser.Icon.RESTORE),
        ):
            self.handles[name] = self.gui.add_button(name, hint=HINTS[name], icon=icon)
        self.handles["Reset"].on_click(lambda _: self.reset())

    def bind(self, name: str, act: Callable[[viser.GuiEvent], None]) -> None:
        """Lets a button, or a choice that is no setting of the scene, do something. Names that are not there do nothing."""
        handle = self.handles.get(name)
        if isinstance(handle, viser.GuiButtonHandle | viser.GuiButtonGroupHandle):
            handle.on_click(act)
        elif handle is not None:
            handle.on_update(act)

    def value(self, name: str, default: object = None) -> object:
        """Where a control stands; the default if there is no such control."""
        return self.handles[name].value if name in self.handles else default

    def settings(self) -> Settings:
        """What all controls say together."""
        value = self.value
        near = value("Near")
        depth_range = DepthRange(near, max(value("Far"), near * SMALLEST_GAP), value("Scale"), value("Shift"))
        return replace(
            self.defaults,
            shape=value("Shape"),
            colour_by=value("Colours"),
            colour_map=value("Colour map"),
            depth_range=depth_range,
            focal=self.focal,
            edge=value("Edge threshold"),
            step=int(value("Decimation")),
            point_size=value("Point size"),
            smoothing=value("Smoothing"),
            steadiness=value("Steadiness", 0.0),
            side_length=self.side_length(),
            background=value("Background"),
            frustum=value("Camera"),
        )

    def side_length(self) -> int | None:
        """The size of the network's input that was asked for; what the options say while nobody asked."""
        handle = self.handles.get("Model input")
        if handle is None or handle.value == self.first_side:
            return self.defaults.side_length
        return int(handle.value)

    @property
    def first_side(self) -> int:
        """Where the control of the network's input began."""
        return (self.defaults.side_length or self.model.side) // self.model.multiple * self.model.multiple

    def set_picture(self, picture_wh: tuple[int, int], focal: float) -> None:
        """Another picture: its size, and its focal length in pixels."""
        self.picture_wh = picture_wh
        self.defaults = replace(self.defaults, focal=focal)
        self.set_focal(focal)

    def set_focal(self, focal: float) -> None:
        """One focal length in both controls."""
        if not (math.isfinite(focal) and focal > 0):
            return
        self.focal = focal
        view = min(max(view_of_focal(focal, self.picture_wh[0]), NARROWEST), WIDEST)
        self.handles["Field of view"].value = round(view, 1)
        self.handles["Focal length"].value = round(focal, 1)

    def set_detail(self, step: int) -> None:
        """Where decimation begins for a picture of this size."""
        self.defaults = replace(self.defaults, step=step)
        self.handles["Decimation"].value = min(step, 16)

    def reset(self) -> None:
        """Everything back to where it began."""
        first, depth_range = self.defaults, self.defaults.depth_range
        for name, value in {
            "Shape": first.shape,
            "Colours": first.colour_by,
            "Colour map": first.colour_map,
            "Edge threshold": first.edge,
            "Decimation": min(first.step, 16),
            "Point size": first.point_size,
            "Smoothing": first.smoothing,
            "Steadiness": first.steadiness,
            "Background": first.background,
            "Camera": first.frustum,
            "Near": depth_range.near,
            "Far": depth_range.far,
            "Scale": depth_range.scale,
            "Shift": depth_range.shift,
            "Model input": self.first_side,
            "Every frame": False,
            "Repeat": True,
        }.items():
            if name in self.handles:
                self.handles[name].value = value
        self.set_focal(first.focal)
        self.changed()
