"""From pictures to network input and back: the only place that knows how a release resizes and normalises.

Shapes: H0 W0 the picture as it was given, H W the network's input, B batch.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import PictureError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# A picture one pixel high would be enlarged until its height is the network's: refuse before the memory runs out.
LARGEST_INPUT_PIXELS = 50_000_000

ROWS_AT_ONCE = 64  # of a picture, see `cubic`

FITS = ("lower_bound", "upper_bound", "minimal", "stretch", "fixed", "pad")
RESAMPLINGS = ("cv2_cubic", "antialiased_cubic", "bilinear_corners")
RESTORATIONS = ("bilinear_corners", "bilinear", "bicubic")


@dataclass(frozen=True)
class PictureRule:
    """How one release prepares a picture, and how it brings the map back.

    side: the size that the release aims at, in pixels. width: its width, where that is not the same as its height.
    multiple: both sides become multiples of this.
    fit: how the aspect ratio is treated (the names are MiDaS'):
        "lower_bound"  the shorter side becomes `side`, no side is smaller
        "upper_bound"  the longer side becomes `side`, no side is larger
        "minimal"      whichever of the two needs less scaling
        "stretch"      both sides become `side`; the aspect ratio is lost
        "fixed"        the same, and the network can do no other size
        "pad"          no resizing: an equal margin of the mean colour on either side (an odd pixel goes below or right)
    resample: "cv2_cubic" (four by four neighbours of the float picture, no antialiasing) or "antialiased_cubic" (on the
        8-bit picture, rounded back to 8 bits: what PIL and `transformers` do), or "bilinear_corners" (of the float
        picture, no antialiasing, corner pixels stay in the corners: ZoeDepth).
    mean, std: normalisation of RGB values between 0 and 1.
    restore: "bilinear_corners" (corner pixels stay in the corners: align_corners=True), "bilinear" or "bicubic" (both
        align_corners=False).
    reflect_padding: first put a border of mirrored picture around it, and cut it off the map again (`reflection_margin`).
    flip_average: a picture's depth is the mean of its own and the mirrored picture's (`lib.predict` does that).
    """

    side: int
    multiple: int
    fit: str = "lower_bound"
    resample: str = "cv2_cubic"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    restore: str = "bilinear_corners"
    width: int | None = None
    reflect_padding: bool = False
    flip_average: bool = False

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a config from a file has lists
        is_known = self.fit in FITS and self.resample in RESAMPLINGS and self.restore in RESTORATIONS
        is_normalisation = len(self.mean) == len(self.std) == 3 and min(self.std) > 0
        is_switch = isinstance(self.reflect_padding, bool) and isinstance(self.flip_average, bool)
        is_simple = not (self.reflect_padding and self.fit == "pad") and not (self.width and self.fit == "fixed")
        is_size = min(self.side, self.width or 1, self.multiple) >= 1
        if not (is_known and is_normalisation and is_switch and is_simple and is_size):
            raise ValueError(f"no picture can be prepared by this rule: {self}")

    def without(self, *, padding: bool, flip: bool) -> "PictureRule":
        """The same rule without its mirrored border, or without averaging with the mirrored picture, where this says True."""
        return replace(
            self,
            reflect_padding=self.reflect_padding and not padding,
            flip_average=self.flip_average and not flip,
        )

    @property
    def target_hw(self) -> tuple[int, int]:
        """The size that the release aims at."""
        return self.side, self.width or self.side


def fit_size(
    height: int, width: int, *, target_hw: tuple[int, int], multiple: int, fit: str
) -> tuple[int, int]:
    """The network input's size for a picture of height x width: MiDaS' resize rule, which most releases copied.

    Both sides are scaled by the same factor (unless fit is "stretch"; "pad" scales nothing) and rounded to the nearest
    multiple, half to even; "lower_bound" never rounds below the target and "upper_bound" never above it.
    """
    scale_h, scale_w = target_hw[0] / height, target_hw[1] / width
    if fit == "lower_bound":
        scale_h = scale_w = max(scale_h, scale_w)
    elif fit == "upper_bound":
        scale_h = scale_w = min(scale_h, scale_w)
    elif fit == "minimal":
        scale_h = scale_w = scale_w if abs(1 - scale_w) < abs(1 - scale_h) else scale_h
    elif fit == "pad":
        return tuple(math.ceil(side / multiple) * multiple for side in (height, width))
    elif fit != "stretch":
        raise ValueError(f"unknown fit {fit!r}: expected one of {', '.join(FITS)}")

    def round_side(exact: float, target: int) -> int:
        side = round(exact / multiple) * multiple  # Python and numpy both round halves to even
        if fit == "lower_bound" and side < target:
            side = math.ceil(exact / multiple) * multiple
        if fit == "upper_bound" and side > target:
            side = math.floor(exact / multiple) * multiple
        return max(side, multiple)

    return round_side(scale_h * height, target_hw[0]), round_side(scale_w * width, target_hw[1])


def as_rgb(image_bgr: np.ndarray) -> np.ndarray:
    """Any picture array that OpenCV may return -> H0 x W0 x 3 RGB of the same type.

    Takes H0 x W0 (grey), H0 x W0 x 1, x 3 (BGR) and x 4 (BGRA; the alpha channel is dropped, as cv2.imread does); uint8,
    uint16, or floating point between 0 and 1. Raises PictureError for anything else.
    """
    if not isinstance(image_bgr, np.ndarray):
        raise PictureError(f"expected a picture as a numpy array, got {type(image_bgr).__name__}")
    shape = image_bgr.shape
    channels = 1 if len(shape) == 2 else shape[-1] if len(shape) == 3 else 0
    if channels not in (1, 3, 4) or 0 in shape:
        raise PictureError(f"expected a picture of shape H x W, H x W x 3 or H x W x 4, got {shape}")
    if image_bgr.dtype not in (np.uint8, np.uint16) and not np.issubdtype(image_bgr.dtype, np.floating):
        raise PictureError(f"expected a picture of uint8, uint16 or float values, got {image_bgr.dtype}")
    if np.issubdtype(image_bgr.dtype, np.floating):
        low, high = float(image_bgr.min()), float(image_bgr.max())
        if not (0 <= low and high <= 1):  # also catches NaN
            raise PictureError(f"expected float pictures to lie between 0 and 1, got values from {low:g} to {high:g}")
        image_bgr = image_bgr.astype(np.float32, copy=False)
    if channels == 1:
        return np.repeat(image_bgr.reshape(shape[0], shape[1], 1), 3, axis=2)  # H0 W0 -> H0 W0 3
    return cv2.cvtColor(np.ascontiguousarray(image_bgr), cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGB)


def reflection_margin(side: int) -> int:
    """How many pixels ZoeDepth mirrors at either end of a side of this length.

    >>> reflection_margin(480), reflection_margin(640)
    (46, 53)
    """
    return int(math.sqrt(side / 2) * 3)


LARGEST_VALUE = {np.dtype(np.uint8): np.float32(255), np.dtype(np.uint16): np.float32(65535)}


def to_unit_range(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 values -> float32 between 0 and 1; floating point stays as it is."""
    largest = LARGEST_VALUE.get(image.dtype)
    return image.astype(np.float32) if largest is None else image.astype(np.float32) / largest


def cubic(image_rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize as MiDaS and Depth-Anything do: OpenCV's cubic, no antialiasing; float32, between 0 and 1 and a little beyond.

    The releases divide by 255 first, in one piece. For a large picture, both need much memory. So the width is brought down
    first, a band of rows at a time, then the height (OpenCV does these two one after the other, too), and then the values.
    """
    narrow = np.empty((image_rgb.shape[0], width, 3), np.float32)
    for start in range(0, image_rgb.shape[0], ROWS_AT_ONCE):
        band = image_rgb[start : start + ROWS_AT_ONCE].astype(np.float32)
        narrow[start : start + ROWS_AT_ONCE] = cv2.resize(band, (width, len(band)), interpolation=cv2.INTER_CUBIC)
    resized = cv2.resize(narrow, (width, height), interpolation=cv2.INTER_CUBIC)  # H0 W 3 -> H W 3
    return resized / LARGEST_VALUE.get(image_rgb.dtype, np.float32(1))


class DPTImageProcessor:
    """Prepares pictures for one model, by the rule of the release that its weights come from."""

    def __init__(self, rule: PictureRule):
        self.rule = rule

    def network_size(
        self,
        height: int,
        width: int,
        *,
        max_side_length: int | None = None,
        use_square_sizing: bool = False,
        use_padding: bool | None = None,
    ) -> tuple[int, int]:
        """The network input's (H, W) for a picture of height x width; arguments as for `prepare_image_bgr`."""
        rule = self.rule
        margin_h, margin_w = self.margins(height, width, use_padding)
        height, width = height + 2 * margin_h, width + 2 * margin_w
        if max_side_length is not None and max_side_length < 1:
            raise PictureError(f"the processing size must be a positive number of pixels, not {max_side_length}")
        if rule.fit == "fixed":
            if max_side_length not in (None, rule.side):
                raise PictureError(
                    f"this model can only process {rule.side} x {rule.side} pixels, not {max_side_length}: "
                    "leave the processing size out (max_side_length, or -b in the scripts)"
                )
            target_hw, fit = rule.target_hw, "stretch"
        elif use_square_sizing:
            target_hw, fit = (max_side_length or rule.side,) * 2, "stretch"
        elif max_side_length is not None:
            target_hw, fit = (max_side_length,) * 2, "upper_bound"
        else:
            target_hw, fit = rule.target_hw, rule.fit
        size = fit_size(height, width, target_hw=target_hw, multiple=rule.multiple, fit=fit)
        if size[0] * size[1] > LARGEST_INPUT_PIXELS:
            raise PictureError(
                f"a picture of {width} x {height} pixels would become {size[1]} x {size[0]} for the network: "
                "bound its longer side (max_side_length, or -b in the scripts)"
            )
        return size

    def margins(self, height: int, width: int, use_padding: bool | None = None) -> tuple[int, int]:
        """How many pixels are mirrored above (and below) and left (and right) of a picture; zeros without padding."""
        is_padded = self.rule.reflect_padding if use_padding is None else use_padding
        return (reflection_margin(height), reflection_margin(width)) if is_padded else (0, 0)

    def prepare_image_bgr(
        self,
        image_bgr: np.ndarray,
        max_side_length: int | None = None,
        use_square_sizing: bool = False,
        *,
        use_padding: bool | None = None,
    ) -> Tensor:
        """A picture as OpenCV reads it -> the network's input: 1 x 3 x H x W RGB, float32, normalised, on the CPU.

        With the defaults, size and resampling are exactly the release's own. max_side_length: instead, bound the longer
        side by this many pixels, keeping the aspect ratio (both sides are rounded to the patch multiple, the longer one
        never upwards). use_square_sizing: both sides become max_side_length (or the release's size), whatever the aspect
        ratio. use_padding: instead of the release's choice, mirror a border around the picture, or not; `scale_prediction`
        must then be told the same. Raises PictureError for arrays that are not pictures (see `as_rgb`), and for a size that the
        network cannot do.
        """
        sizing = (max_side_length, use_square_sizing)
        image_rgb, (height, width) = self._with_border(image_bgr, *sizing, use_padding=use_padding)
        if self._is_padded_to_size(*sizing):
            resized = pad_with(self.rule.mean, to_unit_range(image_rgb), height, width)
        elif self.rule.resample == "cv2_cubic":
            resized = cubic(image_rgb, height, width)
        elif self.rule.resample == "bilinear_corners":
            resized = bilinear_corners(image_rgb, height, width)
        else:
            resized = antialiased_cubic(image_rgb, height, width)
        normalised = (resized - np.float32(self.rule.mean)) / np.float32(self.rule.std)
        return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]  # H W 3 -> 1 3 H W

    def prepare_on_device(
        self,
        image_bgr: np.ndarray,
        device: torch.device,
        max_side_length: int | None = None,
        use_square_sizing: bool = False,
        *,
        use_padding: bool | None = None,
    ) -> Tensor:
        """`prepare_image_bgr` for a network that runs elsewhere: the same numbers up to rounding (about 1e-4), on that device.

        A picture of bytes is sent as it is, a quarter of what its floats would be, and made smaller where the network runs. By
        rules with antialiasing or a border of one colour, and for other pictures, everything is done here.
        """
        sizing = (max_side_length, use_square_sizing)
        modes = {"cv2_cubic": ("bicubic", False), "bilinear_corners": ("bilinear", True)}
        has_bytes = getattr(image_bgr, "dtype", None) == np.uint8
        if not has_bytes or self.rule.resample not in modes or self._is_padded_to_size(*sizing):
            return send(self.prepare_image_bgr(image_bgr, *sizing, use_padding=use_padding), device)
        image_rgb, size = self._with_border(image_bgr, *sizing, use_padding=use_padding)
        mode, aligns_corners = modes[self.rule.resample]
        pixels = send(torch.from_numpy(image_rgb), device).permute(2, 0, 1)[None].float()  # H0 W0 3 -> 1 3 H0 W0
        resized = F.interpolate(pixels, size=size, mode=mode, align_corners=aligns_corners) / 255  # -> 1 3 H W
        return (resized - colour_on(self.rule.mean, device)) / colour_on(self.rule.std, device)

    def _with_border(
        self, image_bgr: np.ndarray, max_side_length: int | None, use_square_sizing: bool, *, use_padding: bool | None
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """The picture as RGB with the mirrored border that the rule asks for, and the size of the network's input."""
        image_rgb = as_rgb(image_bgr)
        height, width = image_rgb.shape[:2]
        sizing = {"max_side_length": max_side_length, "use_square_sizing": use_square_sizing}
        size = self.network_size(height, width, **sizing, use_padding=use_padding)
        rows, columns = self.margins(height, width, use_padding)
        if rows or columns:
            image_rgb = cv2.copyMakeBorder(image_rgb, rows, rows, columns, columns, cv2.BORDER_REFLECT_101)
        return image_rgb, size

    def _is_padded_to_size(self, max_side_length: int | None, use_square_sizing: bool) -> bool:
        """Whether the picture is not resized but gets a border of one colour."""
        return self.rule.fit == "pad" and max_side_length is None and not use_square_sizing

    def scale_prediction(
        self, prediction: Tensor, output_hw: tuple[int, int], *, use_padding: bool | None = None
    ) -> Tensor:
        """A map (H x W) or a batch of maps (B x H x W) at another size, float32, by the release's own interpolation.

        output_hw: the picture's size. use_padding: as for `prepare_image_bgr`; where there is a border, the map is of picture
        and border, and the border is cut off. Bicubic interpolation (MiDaS, `transformers`) may overshoot the values around
        sharp edges by a little.
        """
        if prediction.dim() not in (2, 3):
            raise ValueError(f"expected a map H x W or maps B x H x W, got shape {tuple(prediction.shape)}")
        maps = prediction.float().reshape(1, -1, *prediction.shape[-2:])  # B H W -> 1 B H W
        size = (int(output_hw[0]), int(output_hw[1]))
        rows, columns = self.margins(*size, use_padding)
        whole = (size[0] + 2 * rows, size[1] + 2 * columns)
        mode = "bicubic" if self.rule.restore == "bicubic" else "bilinear"
        scaled = F.interpolate(maps, size=whole, mode=mode, align_corners=self.rule.restore == "bilinear_corners")
        scaled = scaled[..., rows : rows + size[0], columns : columns + size[1]]  # 1 B . . -> 1 B H0 W0
        return scaled.reshape(*prediction.shape[:-2], *size)  # 1 B H0 W0 -> B H0 W0


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on that device; to a GPU from memory that it can read while the CPU goes on."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=16)
def colour_on(colour: tuple[float, float, float], device: torch.device) -> Tensor:
    """3 x 1 x 1 float32 on that device. Remembered, because sending anything makes the CPU wait."""
    return torch.tensor(colour, dtype=torch.float32, device=device).view(3, 1, 1)


def antialiased_cubic(image_rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize as PIL does: cubic with antialiasing on 8-bit values, rounded to 8 bits; float32 between 0 and 1."""
    image_8bit = image_rgb if image_rgb.dtype == np.uint8 else np.round(to_unit_range(image_rgb) * 255).astype(np.uint8)
    tensor = torch.from_numpy(image_8bit).permute(2, 0, 1)[None]  # H0 W0 3 -> 1 3 H0 W0
    resized = F.interpolate(tensor, size=(height, width), mode="bicubic", antialias=True)  # -> 1 3 H W
    return to_unit_range(resized[0].permute(1, 2, 0).numpy())  # 1 3 H W -> H W 3


def bilinear_corners(image_rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize as ZoeDepth does: bilinear, no antialiasing, corners on corners; float32 between 0 and 1."""
    unit = np.ascontiguousarray(to_unit_range(image_rgb).transpose(2, 0, 1))  # H0 W0 3 -> 3 H0 W0
    resized = F.interpolate(torch.from_numpy(unit)[None], size=(height, width), mode="bilinear", align_corners=True)
    return resized[0].permute(1, 2, 0).numpy()  # 1 3 H W -> H W 3


def pad_with(colour: tuple[float, float, float], image_rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Put an H0 x W0 x 3 picture in the middle of one of height x width pixels of this colour."""
    above, left = (height - image_rgb.shape[0]) // 2, (width - image_rgb.shape[1]) // 2
    padded = np.empty((height, width, 3), np.float32)
    padded[:] = colour
    padded[above : above + image_rgb.shape[0], left : left + image_rgb.shape[1]] = image_rgb
    return padded
