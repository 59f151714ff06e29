"""From a weight file to tensors under this project's names: safe reading, and a table of names for each key layout.

LAYOUTS lists the key layouts that can be recognised, the more particular before the more general: of two that fit, the first
is taken.
"""

from . import depth_anything, depth_anything_hf, dpt_hf, midas, midas_pyramids, zoedepth, zoedepth_hf

# Published depth models that are not built here, by the beginning of a key that only they have.
UNSUPPORTED = {
    "pretrained.model.stem.": "a MiDaS 3.1 with a Next-ViT",
    "pretrained.layer1.": "a MiDaS 2.1, which is a convolutional network",
    **zoedepth.OTHER_CORES,
}

LAYOUTS = (
    depth_anything.LAYOUT,
    midas_pyramids.LEVIT,
    midas_pyramids.SWIN_V2,
    midas_pyramids.SWIN,
    midas.HYBRID,
    midas.BEIT,
    midas.VIT,
    zoedepth.ZOEDEPTH,
    zoedepth.DEPTH_ANYTHING,
    zoedepth_hf.LAYOUT,
    dpt_hf.HYBRID,
    dpt_hf.VIT,
    dpt_hf.SWIN_V2,
    dpt_hf.BEIT,
    dpt_hf.DINOV2,
    depth_anything_hf.LAYOUT,
)
