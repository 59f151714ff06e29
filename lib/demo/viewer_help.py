"""The words of the 3D viewer's page: a hint for every control, the formulas, and the help panel made of them."""

FORMULA = "depth = 1 / (v (1/near - 1/far) + 1/far)"

# name of a control: what it does. The names are the labels on the page; hints and help are both made of this table.
HINTS = {
    "Picture": "Which of the pictures is shown.",
    "Play": "Starts and stops the video. While it plays, it is shown as points, which are renewed in place.",
    "Frame": "Where in the video to be. Drag it to seek.",
    "Every frame": "Wait for the depth of each frame instead of keeping to the video's speed: slower, and nothing is left out.",
    "Repeat": "Begin again at the end of the video.",
    "Steadiness": "How much of the last frame's depth is kept, so that a video flickers less. Forgotten at cuts.",
    "Shape": "A mesh with the picture on it, or one point for each pixel.",
    "Colours": "Paint with the picture, with the depth, or with the direction that the surface faces (its normals).",
    "Colour map": "The colours of depth; near is bright or warm.",
    "Edge threshold": "The mesh is torn, and points are left out, where depth jumps by more than this share from one pixel "
    "to the next. At the right end, nothing is torn.",
    "Decimation": "Keep every n-th row and column: larger is faster and coarser. Files that are saved follow it too.",
    "Point size": "Size of a point, as a multiple of the distance between neighbours.",
    "Smoothing": "Evens out small differences of depth and keeps its edges.",
    "Background": "What is seen behind the scene.",
    "Camera": "Show where the photograph was taken from: a pyramid with the picture in it.",
    "Near": "Relative models: the distance in metres that the nearest value gets. Metric models: what is nearer is left out.",
    "Far": "Relative models: the distance in metres that the farthest value gets. Metric models: what is farther is left out. "
    "Always kept beyond Near.",
    "Scale": "Multiplies the values, before they become metres.",
    "Shift": "Is added to the values, after the scale. With a wrong one, a relative model's scene is stretched or squeezed: "
    "right angles come out too sharp or too blunt.",
    "Model input": "The longer side of what the network sees, in pixels: larger shows more detail and takes longer.",
    "Field of view": "The angle that the picture covers from left to right, in degrees. Too wide makes the scene shallow, too "
    "narrow makes it deep.",
    "Focal length": "The same in pixels. From the photograph's EXIF data where it has some.",
    "View": "Look through the photograph's own camera, from the side, or from above.",
    "Save as": "glb: mesh with the picture; ply: points with colours; obj: mesh with colours; png: metres in 16 bits, with "
    "their scale and offset in the file's text; npy: metres as float32.",
    "Save": "Saves the scene as it is set now into your browser's downloads.",
    "Screenshot": "Saves what you see.",
    "Turntable": "Saves a video that swings around the scene; takes some seconds.",
    "Reset": "Puts every control back to where it began.",
}

GROUPS = {
    "Source": ("Picture", "Play", "Frame", "Every frame", "Repeat", "Steadiness"),
    "Scene": (
        "Shape",
        "Colours",
        "Colour map",
        "Edge threshold",
        "Decimation",
        "Point size",
        "Smoothing",
        "Background",
        "Camera",
    ),
    "Depth": ("Near", "Far", "Scale", "Shift", "Model input"),
    "Camera": ("Field of view", "Focal length", "View"),
    "Save": ("Save as", "Save", "Screenshot", "Turntable", "Reset"),
}

MOVING = """### Moving about
- **Orbit**: drag with the left mouse button; the wheel goes nearer and farther, the right button shifts.
- **Fly**: `W` `A` `S` `D` forwards, left, back, right; `Q` and `E` down and up; arrow keys turn.
- **Look through the camera**: *View*, *camera*.
- Rest the mouse on either picture to read the value there.
"""

RELATIVE = f"""### What inverse relative depth means
This model says which pixels are nearer, not how far they are. Its values are *inverse* depth, up to an unknown scale and an
unknown shift: twice the value is not half the distance. So you choose where the nearest and the farthest value go. With v
the value, 1 at the nearest pixel and 0 at the farthest (then times *Scale*, plus *Shift*):

`{FORMULA}`

In words: 1 / depth is linear in v, and only so do flat floors and walls come out flat. Their angles come out right only with
the right *Near*, *Far* and *Shift*: if a corner of a room looks too sharp or too blunt, change one of them. Values below 0 are
kept at *Far*.
"""

RELATIVE_DEPTH = """### What relative depth means
This model predicts depth up to an unknown scale and shift. So you choose where the nearest and the farthest value go. With v
the value, 0 at the nearest pixel and 1 at the farthest (then times *Scale*, plus *Shift*):

`depth = near + v (far - near)`
"""

METRIC = """### What metric depth means
This model predicts metres directly, along the axis of the camera: `depth = Scale * value + Shift`, where both do nothing at
first. What lies nearer than *Near* or beyond *Far* is left out; at first these are the ends of the model's own range. A wrong
field of view makes the scene too wide or too narrow, but leaves the depth as it is.
"""

MEANINGS = {"inverse depth": RELATIVE, "depth": RELATIVE_DEPTH, "metres": METRIC}
SHORT_FORMULAS = {
    "inverse depth": f"`{FORMULA}`, v = scale × value + shift; value 1 nearest, 0 farthest",
    "depth": "`depth = near + v (far - near)`, v = scale × value + shift; value 0 nearest, 1 farthest",
    "metres": "Metres from the model: `depth = scale × value + shift`",
}


def help_text(quantity: str) -> str:
    """The help panel, Markdown. quantity: as a DepthMap says."""
    parts = [MOVING, MEANINGS[quantity], "### Controls"]
    for group, names in GROUPS.items():
        parts.append(f"**{group}**\n\n" + "\n".join(f"- *{name}*: {HINTS[name]}" for name in names) + "\n")
    return "\n".join(parts)
