"""The five steps of DPT called one by one, with the shape of everything between them.

    python simple_examples/internal_features.py WEIGHTS PICTURE
"""

import sys
from pathlib import Path

import cv2
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, where `lib` is
from lib.make_dpt import make_dpt_from_state_dict

weights_path, picture_path = sys.argv[1:3]
_, dpt_model, dpt_imgproc = make_dpt_from_state_dict(weights_path)
image_tensor = dpt_imgproc.prepare_image_bgr(cv2.imread(picture_path))


def show(what: str, *tensors: torch.Tensor) -> None:
    print(f"{what}:", *(" x ".join(str(side) for side in tensor.shape) for tensor in tensors), sep="\n    ")


with torch.no_grad():
    show("picture, normalised RGB", image_tensor)

    tokens, grid_hw = dpt_model.patch_embed(image_tensor)
    show(f"1. patch embedding: one token for each cell of a {grid_hw[0]} x {grid_hw[1]} grid", tokens)

    stages = dpt_model.imgencoder(tokens, grid_hw)
    show("2. image encoder: the same tokens after four depths of processing (token 0 is the class token)", *stages)

    maps = dpt_model.reassemble(stages, grid_hw)
    show("3. reassemble: tokens back on their grid, at four scales, all equally wide", *maps)

    fused = dpt_model.fusion(maps)
    show("4. fusion: from the coarsest map to the finest", fused)

    depth = dpt_model.head(fused, image_tensor.shape[-2:])
    show("5. head: one number for each pixel", depth)

    same = torch.equal(depth, dpt_model(image_tensor))
    print("the same as calling the model:", "yes" if same else "NO")
