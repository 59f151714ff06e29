"""How to add an encoder, from beginning to end: the worked example of lib/README.md.

Suppose that somebody published "Pyramid Depth": a DPT whose encoder is a small convolutional network. `ReleaseNet` is their
code, written in their way, with their names. It is added in four places; here each is a variable that the fixture puts where it
belongs, in real life a line or a file there.

Shapes: B batch, H W picture, h w a map, C features of the first stage, K of any.
"""

import copy
from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lib.make_dpt
from lib.checkpoints.keys import KeyMap
from lib.checkpoints.layout import Layout, has_prefixes
from lib.checkpoints.sizes import Shapes, decoder_sizes
from lib.demo.weights import find_weights
from lib.encoders import ENCODERS
from lib.encoders.layers import check_picture
from lib.errors import CheckpointError
from lib.image_processor import PictureRule
from lib.make_dpt import make_dpt_from_state_dict, save_dpt
from lib.model_types import MODEL_TYPES, ModelType
from lib.predict import predict_depth
from lib.releases import RELEASES, Release
from tests.conftest import SAME, difference, make_picture
from tests.midas import calibrate, images, seed_weights

# Place 1: lib/encoders/pyramid.py


class PyramidStem(nn.Module):
    """The first convolution: 1/4 of the picture's size."""

    def __init__(self, *, features: int):
        super().__init__()
        self.patch_size = 32  # pixels that both sides of a picture must be a multiple of: the last stage's
        self.conv = nn.Conv2d(3, features, kernel_size=4, stride=4)

    def forward(self, image_rgb: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """B x 3 x H x W picture -> B x C x H/4 x W/4 features, and their grid (H / 4, W / 4)."""
        check_picture(image_rgb, self.patch_size)
        feature_map = self.conv(image_rgb)  # B 3 H W -> B C H/4 W/4
        return feature_map, (feature_map.shape[-2], feature_map.shape[-1])


class PyramidBlock(nn.Module):
    """map + mix(gelu(spread(map))): every pixel looks at its neighbours, channel by channel, then at its own channels."""

    def __init__(self, features: int):
        super().__init__()
        self.spread = nn.Conv2d(features, features, kernel_size=3, padding=1, groups=features)
        self.mix = nn.Conv2d(features, features, kernel_size=1)

    def forward(self, feature_map: Tensor) -> Tensor:
        """B x K x h x w -> the same shape."""
        return feature_map + self.mix(F.gelu(self.spread(feature_map)))


class PyramidEncoder(nn.Module):
    """Four stages of blocks; between two of them the map halves and its width doubles. depths: blocks of each stage."""

    def __init__(self, *, features: int, depths: Sequence[int]):
        super().__init__()
        self.num_stages = len(depths)
        widths = [features * 2**stage for stage in range(len(depths))]
        self.stages = nn.ModuleList(
            nn.Sequential(*(PyramidBlock(width) for _ in range(depth))) for width, depth in zip(widths, depths, strict=True)
        )
        self.halvings = nn.ModuleList(nn.Conv2d(width, 2 * width, kernel_size=2, stride=2) for width in widths[:-1])

    def forward(self, feature_map: Tensor, grid_hw: tuple[int, int]) -> list[Tensor]:
        """B x C x H/4 x W/4 -> four stages: B x C x H/4 x W/4, B x 2C x H/8 x W/8, and so on."""
        stages = []
        for number, stage in enumerate(self.stages):
            if number > 0:
                feature_map = self.halvings[number - 1](feature_map)  # B K h w -> B 2K h/2 w/2
            feature_map = stage(feature_map)
            stages.append(feature_map)
        return stages


# Place 2: a line of ENCODERS, lib/encoders/__init__.py

PYRAMID = (PyramidStem, PyramidEncoder)


# Place 3: lib/checkpoints/pyramid_depth.py, and its LAYOUT in LAYOUTS


def read_sizes(shapes: Shapes, config: dict) -> dict:
    """The model config, as far as shapes tell it."""
    features = shapes.of("stem.weight", 4)[0]
    num_stages = shapes.count("levels.")
    widths = [features * 2**stage for stage in range(num_stages)]
    decoder = decoder_sizes(
        stage_features=widths,
        stage_channels=widths,
        readouts=[None] * num_stages,  # the stages are image-like already
        scales=[1] * num_stages,
        fusion_features=shapes.of("lateral.0.weight", 4)[0],
        head_channels=[shapes.of(f"out.{number}.weight", 4)[0] for number in (0, 1)],
    )
    return {
        "encoder": "pyramid",
        "native_side": 128,
        "patch_embed": {"features": features},
        "imgencoder": {"features": features, "depths": [shapes.count(f"levels.{stage}.") for stage in range(num_stages)]},
        **decoder,
    }


LAYOUT = Layout(
    title="Pyramid Depth",
    family="pyramid-depth",
    matches=lambda tensors: has_prefixes(tensors, "levels.", "lateral."),
    read_sizes=read_sizes,
    keys=KeyMap(
        {
            "stem.": "patch_embed.conv.",
            "levels.*.*.dw.": "imgencoder.stages.*.*.spread.",
            "levels.*.*.pw.": "imgencoder.stages.*.*.mix.",
            "down.*.": "imgencoder.halvings.*.",
            "lateral.*.": "reassemble.stages.*.to_fusion.",
            "skip.*.0.": "fusion.blocks.*.refine_skip.conv_1.",
            "skip.*.1.": "fusion.blocks.*.refine_skip.conv_2.",
            "up.*.0.": "fusion.blocks.*.refine.conv_1.",
            "up.*.1.": "fusion.blocks.*.refine.conv_2.",
            "up.*.2.": "fusion.blocks.*.project.",
            "out.0.": "head.conv_1.",
            "out.1.": "head.conv_2.",
            "out.2.": "head.conv_3.",
        },
        unused=["classifier.weight", "classifier.bias"],  # of its pre-training
    ),
)

# Place 4: rows of MODEL_TYPES, lib/model_types.py, and RELEASES, lib/releases.py

TYPE = ModelType(
    name="pyramid-depth",
    title="Pyramid Depth, relative",
    family="pyramid-depth",
    taps=(),  # the encoder leaves no choice
    picture=PictureRule(side=128, multiple=32),
    file_pattern=r"pyramid_depth",
)
RELEASE = Release(
    name="pyramid-depth-small",
    model_type="pyramid-depth",
    file_name="pyramid_depth_small.pth",
    features=16,
    blocks=7,
    side=128,
    parameters=0.3,
    licence="MIT",
    url="https://example.org/pyramid_depth_small.pth",
)

# The end. What follows is the release's own code, and the comparison.


class ReleaseNet(nn.Module):
    """Pyramid Depth as its authors wrote it: one file, short names, a list for everything."""

    def __init__(self, dim: int = 16, depths: Sequence[int] = (2, 2, 2, 1), dec: int = 32):
        super().__init__()
        dims = [dim, 2 * dim, 4 * dim, 8 * dim]
        self.stem = nn.Conv2d(3, dim, 4, 4)
        self.levels = nn.ModuleList(
            nn.ModuleList(nn.ModuleDict({"dw": nn.Conv2d(d, d, 3, 1, 1, groups=d), "pw": nn.Conv2d(d, d, 1)}) for _ in range(n))
            for d, n in zip(dims, depths, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(d, 2 * d, 2, 2) for d in dims[:-1])
        self.lateral = nn.ModuleList(nn.Conv2d(d, dec, 3, 1, 1, bias=False) for d in dims)
        self.skip = nn.ModuleList(nn.ModuleList(nn.Conv2d(dec, dec, 3, 1, 1) for _ in range(2)) for _ in range(3))
        self.up = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(dec, dec, 3, 1, 1), nn.Conv2d(dec, dec, 3, 1, 1), nn.Conv2d(dec, dec, 1)])
            for _ in range(4)
        )
        self.out = nn.ModuleList([nn.Conv2d(dec, 16, 3, 1, 1), nn.Conv2d(16, 8, 3, 1, 1), nn.Conv2d(8, 1, 1)])
        self.classifier = nn.Linear(8 * dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        size, x, feats = x.shape[-2:], self.stem(x), []
        for i, level in enumerate(self.levels):
            x = self.down[i - 1](x) if i else x
            for block in level:
                x = x + block["pw"](F.gelu(block["dw"](x)))
            feats.append(self.lateral[i](x))
        y = None
        for i in (3, 2, 1, 0):
            f = feats[i]
            if y is not None:
                f = y + f + self.skip[i][1](F.relu(self.skip[i][0](F.relu(f))))
            f = f + self.up[i][1](F.relu(self.up[i][0](F.relu(f))))
            y = self.up[i][2](F.interpolate(f, scale_factor=2, mode="bilinear", align_corners=True))  # enlarged first
        y = F.interpolate(self.out[0](y), size=size, mode="bilinear", align_corners=True)
        return F.relu(self.out[2](F.relu(self.out[1](y))))[:, 0]


@pytest.fixture
def added(monkeypatch):
    """The four places."""
    monkeypatch.setitem(ENCODERS, "pyramid", PYRAMID)
    monkeypatch.setattr(lib.make_dpt, "LAYOUTS", (*lib.make_dpt.LAYOUTS, LAYOUT))
    monkeypatch.setitem(MODEL_TYPES, TYPE.name, TYPE)
    monkeypatch.setitem(RELEASES, RELEASE.name, RELEASE)


@pytest.fixture(scope="module")
def release_net() -> ReleaseNet:
    net = seed_weights(ReleaseNet()).eval()
    calibrate(net.out[2], lambda: net(images()))
    return net


@pytest.fixture
def weights(release_net, tmp_path):
    """The published file, as its authors saved it."""
    path = tmp_path / RELEASE.file_name
    torch.save({"model": release_net.state_dict(), "epoch": 30}, path)
    return path


def test_without_the_four_places_it_is_refused(weights):
    with pytest.raises(CheckpointError, match="not a depth model that is known here"):
        make_dpt_from_state_dict(weights)


@pytest.mark.parametrize("size", [(128, 128), (96, 160)])
def test_it_computes_what_the_release_computes(added, weights, release_net, size):
    config, model, _ = make_dpt_from_state_dict(weights)
    image = images(*size, batch=2)
    with torch.no_grad():
        reference = release_net(image)
    assert difference(model.inference(image), reference) <= SAME
    assert config["release"] == "pyramid-depth-small"


def test_it_says_what_it_is(added, weights, capsys):
    _, model, imgproc = make_dpt_from_state_dict(weights)
    assert "Pyramid Depth, relative: 7 blocks of 16 features, predicts inverse depth" in capsys.readouterr().out
    result = predict_depth(model, imgproc, make_picture(90, 120))
    assert (result.quantity, result.depth.shape) == ("inverse depth", (90, 120))


def test_it_is_found_by_its_published_name(added, weights):
    assert find_weights("pyramid-depth-small", folder=weights.parent) == weights


def test_its_conversion_is_total(added, release_net, tmp_path):
    tensors = release_net.state_dict()
    torch.save(tensors | {"levels.0.0.gate.weight": torch.zeros(3)}, tmp_path / "pyramid_depth_more.pth")
    with pytest.raises(CheckpointError, match=r"unexpected key levels\.0\.0\.gate\.weight"):
        make_dpt_from_state_dict(tmp_path / "pyramid_depth_more.pth")
    fewer = copy.copy(tensors)
    del fewer["skip.1.0.bias"]
    torch.save(fewer, tmp_path / "pyramid_depth_less.pth")
    with pytest.raises(CheckpointError, match=r"missing key skip\.1\.0\.bias"):
        make_dpt_from_state_dict(tmp_path / "pyramid_depth_less.pth")


def test_it_is_saved_and_loaded_in_our_own_format(added, weights, tmp_path):
    config, model, _ = make_dpt_from_state_dict(weights)
    save_dpt(tmp_path / "own.safetensors", config, model)
    again_config, again, _ = make_dpt_from_state_dict(tmp_path / "own.safetensors")
    assert again_config == config
    assert torch.equal(again.inference(images()), model.inference(images()))


def test_a_release_of_a_known_family_is_one_row(monkeypatch, tiny_v2):
    """Without the row the file loads too; with it, it has a name, a licence and an address."""
    assert make_dpt_from_state_dict(tiny_v2)[0]["release"] is None
    row = Release(
        name="depth-anything-v2-tiny",
        model_type="depth-anything-v2",
        file_name=tiny_v2.name,
        features=128,
        blocks=12,
        side=518,
        parameters=3.0,
        licence="MIT",
        repository="somebody/tiny",
        path=tiny_v2.name,
    )
    monkeypatch.setitem(RELEASES, row.name, row)
    config, model, _ = make_dpt_from_state_dict(tiny_v2)
    assert row.side == config["imgencoder"]["table_side"] * config["patch_embed"]["patch_size"]
    assert config["release"] == "depth-anything-v2-tiny"
    assert make_dpt_from_state_dict(tiny_v2, model_type="depth-anything-v2-tiny")[0]["model_type"] == "depth-anything-v2"
    assert find_weights("depth-anything-v2-tiny", folder=tiny_v2.parent) == tiny_v2
    assert model.output.quantity == "inverse depth"
