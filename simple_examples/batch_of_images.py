"""Several pictures through the network at once. They may differ in size; their network inputs may not.

    python simple_examples/batch_of_images.py WEIGHTS PICTURE [PICTURE ...]
"""

import sys
from collections import defaultdict
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, where `lib` is
from lib.make_dpt import make_dpt_from_state_dict
from lib.predict import predict_depth_batch

weights_path, *picture_paths = sys.argv[1:]
_, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights_path)

by_network_size = defaultdict(list)
for path in picture_paths:
    image_bgr = cv2.imread(path)
    by_network_size[dpt_imgproc.network_size(*image_bgr.shape[:2])].append((path, image_bgr))

for network_size, group in by_network_size.items():
    results = predict_depth_batch(dpt_model, dpt_imgproc, [image_bgr for _, image_bgr in group])
    print(f"{len(group)} at a network size of {network_size[0]} x {network_size[1]}:")
    for (path, _), result in zip(group, results, strict=True):
        print(f"    {path}: {result.depth.shape}, {result.quantity} {result.depth.min():.3f} to {result.depth.max():.3f}")
