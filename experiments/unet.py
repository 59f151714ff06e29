"""A plain U-Net for depth, to compare with: experiments/unet.py, trained by `train_depth.py --new unet`.

"U-Net: convolutional networks for biomedical image segmentation", figure 1, with padded convolutions, so that the map
is as large as the picture, and group normalisation, which works for a batch of one too. Four times the picture is
halved and the channels are doubled; on the way back each size sees again what was there before it was halved.

    from experiments.unet import load_unet
    config, model, imgproc = load_unet("runs/unet/best.safetensors")    # as make_dpt_from_state_dict returns them

Shapes: B batch, H W picture, K channels of a level.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.checkpoints.files import read_checkpoint
from lib.dpt_model import OutputKind
from lib.errors import CheckpointError
from lib.image_processor import DPTImageProcessor, PictureRule
from lib.make_dpt import make_dpt_from_state_dict

GROUPS = 8
ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid}


def double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Twice: a 3x3 convolution, normalisation, ReLU."""
    layers = []
    for channels in (channels_in, channels_out):
        layers += [
            nn.Conv2d(channels, channels_out, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, channels_out),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Picture in, depth out. `encoder` halves, `decoder` doubles; `output` says what the depth means.

    width: channels at the picture's own size. num_halvings: levels below it. activation, scale: of the last step, as in
    DepthHead.
    """

    def __init__(self, *, output: OutputKind, width: int, num_halvings: int, activation: str, scale: float):
        super().__init__()
        widths = [width * 2**level for level in range(num_halvings + 1)]
        self.multiple = 2**num_halvings
        self.encoder = nn.ModuleList(double_conv(*pair) for pair in zip([3, *widths[:-1]], widths, strict=True))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(2 * k, k, kernel_size=2, stride=2) for k in widths[:-1])
        self.decoder = nn.ModuleList(double_conv(2 * k, k) for k in widths[:-1])
        self.head = nn.Conv2d(width, 1, kernel_size=1)
        self.activation, self.scale, self.output = activation, scale, output

    def forward(self, image_rgb: Tensor) -> Tensor:
        """B x 3 x H x W normalised picture -> B x H x W depth. ValueError unless both are multiples of `multiple`."""
        if any(side % self.multiple for side in image_rgb.shape[-2:]):
            raise ValueError(f"both sides of {tuple(image_rgb.shape)} must be multiples of {self.multiple}")
        seen = []
        features = image_rgb
        for level, block in enumerate(self.encoder):
            features = block(F.max_pool2d(features, 2) if level else features)  # B K H W -> B 2K H/2 W/2
            seen.append(features)
        for level in reversed(range(len(self.decoder))):
            enlarged = self.enlarge[level](features)  # B 2K H/2 W/2 -> B K H W
            features = self.decoder[level](torch.cat([seen[level], enlarged], dim=1))  # B 2K H W -> B K H W
        return ACTIVATIONS[self.activation](self.head(features)).squeeze(1) * self.scale  # B K H W -> B H W

    @torch.no_grad()
    def inference(self, image_rgb: Tensor) -> Tensor:
        """`forward` without gradients, on a picture tensor from any device or dtype (it follows the weights)."""
        return self(image_rgb.to(self.head.weight))


def build_unet(config: dict) -> UNet:
    """The network that a config describes: its sections "unet", the arguments of UNet, and "output", an OutputKind."""
    low, high = config["output"]["value_range"]
    meaning = config["output"] | {"value_range": (low, float("inf") if high is None else high)}  # JSON has no infinity
    return UNet(output=OutputKind(**meaning), **config["unet"])


def is_unet(path: str | Path) -> bool:
    """Whether this file is one that `train_depth.py --new unet` wrote. Raises CheckpointError if it cannot be read."""
    return (read_checkpoint(path).own_config or {}).get("encoder") == "unet"


def load_unet(path: str | Path) -> tuple[dict, UNet, DPTImageProcessor]:
    """(config, model in eval mode, image processor) of a trained U-Net. Raises CheckpointError for any other file."""
    checkpoint = read_checkpoint(path)
    config = checkpoint.own_config or {}
    if config.get("encoder") != "unet":
        raise CheckpointError(f"{path}: not a U-Net that train_depth.py wrote")
    try:
        model = build_unet(config)
        model.load_state_dict(checkpoint.tensors)
        return config, model.eval(), DPTImageProcessor(PictureRule(**config["picture"]))
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its config or weights are those of no U-Net ({error})") from error


def make_dpt_or_unet(path: str | Path, **options) -> tuple[dict, nn.Module, DPTImageProcessor]:
    """`make_dpt_from_state_dict` with these options; a trained U-Net, which has none, comes from `load_unet`."""
    return load_unet(path) if Path(path).is_file() and is_unet(path) else make_dpt_from_state_dict(path, **options)
