"""Plain DPT: depth-estimation transformers in plain PyTorch. Inside the checkout this package is `lib`; installed, `plain_dpt`.

The public names are imported when they are first used, so that importing a part such as the scripts' options is quick.
"""

import importlib

_PUBLIC = {
    "make_dpt_from_state_dict": ".make_dpt",
    "save_dpt": ".make_dpt",
    "predict_depth": ".predict",
    "DepthMap": ".predict",
    "DPTModel": ".dpt_model",
    "DPTImageProcessor": ".image_processor",
    "CheckpointError": ".errors",
    "PictureError": ".errors",
    "UserError": ".errors",
}
__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
