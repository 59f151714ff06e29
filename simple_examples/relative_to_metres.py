"""Metres from a relative model, by two or more pixels whose distance is known.

    python simple_examples/relative_to_metres.py WEIGHTS PICTURE X,Y=METRES X,Y=METRES [X,Y=METRES ...]

A relative model predicts inverse depth v up to an unknown scale *and* an unknown shift:

    1 / metres = scale * v + shift

Two known distances fix both (with more, the best fit in least squares); one alone cannot, because every shift would do.
The shift matters: without it walls and floors stay flat, but meet at wrong angles, and proportions are wrong.

The clamp: far away, scale * v + shift comes close to zero, and where the prediction is a little too small it crosses zero:
1 / metres would be infinite or negative. Such pixels are "as far as we can tell", so the inverse is clamped at
1 / FARTHEST before it is turned over.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, where `lib` is
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth

FARTHEST = 100.0  # metres

weights_path, picture_path, *measurements = sys.argv[1:]
if len(measurements) < 2:
    sys.exit("at least two measurements are needed, such as 320,400=1.5 310,120=4")
_, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights_path)
result = predict_depth(dpt_model, dpt_imgproc, cv2.imread(picture_path))
if result.quantity != "inverse depth":
    sys.exit(f"{weights_path} predicts {result.quantity}: there is nothing to convert")

known_v, known_metres = [], []
for measurement in measurements:
    pixel, metres = measurement.split("=")
    x, y = map(int, pixel.split(","))
    known_v.append(result.depth[y, x])
    known_metres.append(float(metres))

# Least squares for scale and shift in inverse metres: [v 1] [scale shift]^T = 1 / metres.
columns = np.stack([known_v, np.ones(len(known_v))], axis=1)
(scale, shift), *_ = np.linalg.lstsq(columns, 1 / np.array(known_metres), rcond=None)
print(f"1 / metres = {scale:.6g} * v + {shift:.6g}")
if scale <= 0:
    sys.exit("these measurements say that larger values are farther away: check the pixels, x comes first")

metres = 1 / np.maximum(scale * result.depth + shift, 1 / FARTHEST)
for v, truth, measurement in zip(known_v, known_metres, measurements, strict=True):
    fitted = 1 / max(scale * v + shift, 1 / FARTHEST)
    print(f"{measurement}: fitted {fitted:.2f} m, measured {truth:.2f} m")
print(f"the whole picture: {metres.min():.2f} m to {metres.max():.2f} m")
