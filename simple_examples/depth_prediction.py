"""A weight file and a picture in, a depth map out: the whole of it.

    python simple_examples/depth_prediction.py WEIGHTS PICTURE
"""

import sys
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, where `lib` is
from lib.make_dpt import make_dpt_from_state_dict

weights_path, picture_path = sys.argv[1:3]
model_config_dict, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights_path)
image_bgr = cv2.imread(picture_path)

image_tensor = dpt_imgproc.prepare_image_bgr(image_bgr)  # 1 x 3 x H x W
prediction = dpt_model.inference(image_tensor)  # 1 x H x W
depth = dpt_imgproc.scale_prediction(prediction, image_bgr.shape[:2])[0].numpy()  # at the picture's size

print("network input:", tuple(image_tensor.shape))
print("depth map:", depth.shape, depth.dtype, "in", dpt_model.output.quantity)
print("smallest and largest value:", depth.min(), depth.max())
print("larger values are", "nearer" if dpt_model.output.nearest_is_largest else "farther")
