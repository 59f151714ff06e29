"""The decoder that serves every encoder: reassemble, fusion, head ("Vision transformers for dense prediction", 3.1).

The metric head of ZoeDepth is put on top of it where a model predicts metres by bins.
"""

from .fusion import Fusion
from .head import DepthHead
from .metric_head import MetricHead
from .reassemble import Reassemble

__all__ = ["DepthHead", "Fusion", "MetricHead", "Reassemble"]
