"""Metres from a metric model, and how far away things at chosen pixels are.

    python simple_examples/metric_depth.py WEIGHTS PICTURE [X,Y ...]

WEIGHTS: a metric model, such as depth_anything_v2_metric_hypersim_vits.pth (indoors, up to 20 m) or
depth_anything_v2_metric_vkitti_vits.pth (streets, up to 80 m). Without pixels, the picture's centre is measured.
"""

import sys
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, where `lib` is
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

weights_path, picture_path, *pixels = sys.argv[1:]
_, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights_path)
image_bgr = cv2.imread(picture_path)
result = predict_depth(dpt_model, dpt_imgproc, image_bgr)

# The weights of metric and relative models look the same: the model says which it is, so that nobody has to guess.
if result.quantity != "metres":
    sys.exit(f"{weights_path} predicts {result.quantity}, not metres: see simple_examples/relative_to_metres.py")

height, width = result.depth.shape
for x, y in [map(int, pixel.split(",")) for pixel in pixels] or [(width // 2, height // 2)]:
    print(f"pixel x={x} y={y}: {result.depth[y, x]:.2f} m")
print(f"nearest {result.depth.min():.2f} m, farthest {result.depth.max():.2f} m, ", end="")
print(f"the model can give {result.value_range[0]:g} to {result.value_range[1]:g} m")
