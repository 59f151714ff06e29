"""From a weight file to tensors under this project's names: safe reading, and a table of names for each key layout.

LAYOUTS lists the key layouts that can be recognised, the more particular before the more general: of two that fit, the first
is taken.
"""

from . import depth_anything, depth_anything_hf, dpt_hf, midas, midas_pyramids

LAYOUTS = (
    depth_anything.LAYOUT,
    midas_pyramids.LEVIT,
    midas_pyramids.SWIN_V2,
    midas_pyramids.SWIN,
    midas.HYBRID,
    midas.BEIT,
    midas.VIT,
    dpt_hf.HYBRID,
    dpt_hf.VIT,
    dpt_hf.SWIN_V2,
    dpt_hf.BEIT,
    dpt_hf.DINOV2,
    depth_anything_hf.LAYOUT,
)
