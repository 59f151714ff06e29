"""From a weight file to tensors under this project's names: safe reading, and one small file per key layout.

LAYOUTS lists the key layouts that can be recognised. Each is a module with

    TITLE                               what to call it
    matches(tensors)                    is this its layout?
    read_sizes(tensors, config)         the parts of a model config that the shapes (and config.json) tell
    KEYS                                a KeyMap: how its keys are called here, and which are never used
"""

from . import depth_anything, depth_anything_hf

LAYOUTS = (depth_anything, depth_anything_hf)
