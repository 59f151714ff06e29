"""The two pictures beside the scene, input and depth, with the value under the pointer.

The page looks values up by itself, in a small table that comes with the pictures: the server hears nothing of the pointer.
"""

import base64
import html
import json

import cv2
import numpy as np

from .viewer_scene import Settings, Shot, depth_colours

SHOWN_WIDTH = 320  # pixels of a picture on the page, at most
TABLE_SIDE = 256  # columns or rows of the table of values, at most
LARGEST_CODE = 65535  # of 16 bits; the last one means unknown
JPEG_QUALITY = 85
UNITS = {"metres": "m", "inverse depth": "(inverse depth)", "depth": "(relative depth)"}

# Reads the value under the pointer from the box's table and writes it below; marks the place in both pictures. Kept on the
# window, so that pictures that are renewed while a video plays are asked again at the place where the pointer rests.
SCRIPT = """
if (!window.plainDepthLook) {
  window.plainDepthDecode = (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Uint16Array(bytes.buffer);
  };
  window.plainDepthLook = (box, place) => {
    const info = JSON.parse(box.dataset.info);
    if (!box.tables) {
      box.tables = [info.values, info.inverse].map(window.plainDepthDecode);
    }
    const column = Math.min(Math.floor(place[0] * info.columns), info.columns - 1);
    const row = Math.min(Math.floor(place[1] * info.rows), info.rows - 1);
    const codes = box.tables.map((table) => table[row * info.columns + column]);
    const value = codes[0] * info.scale + info.offset;
    const inverse = codes[1] * info.inverseScale + info.inverseOffset;
    const x = Math.floor(place[0] * info.width), y = Math.floor(place[1] * info.height);
    const known = codes[0] !== info.unknown ? Number(value.toPrecision(4)) + " " + info.unit : "no value";
    const metres = codes[1] !== info.unknown ? (1 / inverse).toPrecision(3) + " m in the scene" : "not in the scene";
    box.querySelector("p").textContent = "at " + x + ", " + y + ": " + known + "; " + metres;
    for (const mark of box.querySelectorAll("i")) {
      mark.style.display = "block";
      mark.style.left = 100 * place[0] + "%";
      mark.style.top = 100 * place[1] + "%";
    }
  };
  window.plainDepthMove = (event, picture) => {
    const frame = picture.getBoundingClientRect();
    window.plainDepthPlace = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height]
      .map((share) => Math.min(Math.max(share, 0), 0.999999));
    window.plainDepthLook(picture.closest(".plain-depth"), window.plainDepthPlace);
  };
}
if (window.plainDepthPlace) { window.plainDepthLook(this.closest(".plain-depth"), window.plainDepthPlace); }
"""
MARK_STYLE = (
    "display:none;position:absolute;width:9px;height:9px;margin:-6px 0 0 -6px;border:1.5px solid #fff;border-radius:50%;"
    "box-shadow:0 0 2px 1px #000;pointer-events:none"
)


def pictures_html(shot: Shot, settings: Settings, metres: np.ndarray) -> str:
    """Input and depth one above the other, as HTML that needs nothing from anywhere. metres: H W, NaN for unknown."""
    height, width = shot.image_bgr.shape[:2]
    step = max(1, -(-max(height, width) // TABLE_SIDE))
    place = np.s_[step // 2 :: step, step // 2 :: step]
    values, scale, offset = codes_of(shot.depth_map.depth[place])
    with np.errstate(divide="ignore"):
        inverse, inverse_scale, inverse_offset = codes_of(1 / metres[place])  # near metres deserve more codes
    full_w, full_h = shot.region[2:] if shot.region else shot.full_wh or (width, height)
    info = {
        "rows": values.shape[0],
        "columns": values.shape[1],
        "width": full_w,
        "height": full_h,
        "unit": UNITS[shot.depth_map.quantity],
        "unknown": LARGEST_CODE,
        "values": as_base64(values.tobytes()),
        "scale": scale,
        "offset": offset,
        "inverse": as_base64(inverse.tobytes()),
        "inverseScale": inverse_scale,
        "inverseOffset": inverse_offset,
    }
    pictures = (("Input", shot.image_bgr, ""), ("Depth", depth_colours(shot, settings.colour_map), script_attribute()))
    parts = [f'<div class="plain-depth" data-info="{html.escape(json.dumps(info))}" style="padding:0 .6em .4em">']
    for title, picture, on_load in pictures:
        parts.append(
            f'<div style="position:relative;line-height:0;margin-top:.5em;cursor:crosshair" title="{title}">'
            f'<img alt="{title}" src="{data_url(picture)}" style="width:100%;border-radius:4px" '
            f'onpointermove="window.plainDepthMove(event, this)" {on_load}><i style="{MARK_STYLE}"></i></div>'
        )
    hint = "Rest the mouse on a picture to read its value."
    parts.append(f'<p style="margin:.4em 0 0;font-size:.8em;min-height:2.6em;line-height:1.3">{hint}</p></div>')
    return "".join(parts)


def script_attribute() -> str:
    """The script, to run when the last picture is there: scripts themselves do not run in HTML that is put in later."""
    return f'onload="{html.escape(SCRIPT)}"'


def codes_of(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Values as little-endian 16-bit codes, with value = code * scale + offset; LARGEST_CODE where they are not finite."""
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    scale = (high - low) / (LARGEST_CODE - 1) or 1.0
    codes = np.where(known, (np.where(known, values, low) - low) / scale, LARGEST_CODE)
    return codes.round().astype("<u2"), scale, low


def data_url(image_bgr: np.ndarray) -> str:
    """A picture, small enough for the page, as a URL that holds it."""
    height, width = image_bgr.shape[:2]
    if width > SHOWN_WIDTH:
        size = (SHOWN_WIDTH, max(1, round(height * SHOWN_WIDTH / width)))
        image_bgr = cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return f"data:image/jpeg;base64,{as_base64(encoded.tobytes())}"


def as_base64(data: bytes) -> str:
    """Bytes as the text that pages can hold."""
    return base64.b64encode(data).decode()
