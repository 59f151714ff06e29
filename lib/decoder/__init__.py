"""The decoder that serves every encoder: reassemble, fusion, head ("Vision transformers for dense prediction", 3.1)."""

from .fusion import Fusion
from .head import DepthHead
from .reassemble import Reassemble

__all__ = ["DepthHead", "Fusion", "Reassemble"]
