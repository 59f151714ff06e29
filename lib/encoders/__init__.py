"""Image encoders, one file each.

ENCODERS names, for every encoder kind that a config can ask for, the two modules that make it up: the patch embedding
(picture -> tokens and patch grid) and the image encoder (tokens and patch grid -> four stages).
"""

from .beit import BEiTEncoder
from .hybrid import HybridEncoder, HybridStem
from .layers import PatchEmbed
from .levit import LevitEncoder, LevitStem
from .swin import SwinEncoder
from .vit import ViTEncoder

ENCODERS = {
    "vit": (PatchEmbed, ViTEncoder),
    "beit": (PatchEmbed, BEiTEncoder),
    "swin": (PatchEmbed, SwinEncoder),
    "hybrid": (HybridStem, HybridEncoder),
    "levit": (LevitStem, LevitEncoder),
}
