"""The tables of published checkpoints: every row is recognised by its shapes and name, and says what is true of it."""

import re
from pathlib import Path

import pytest
import torch

from lib.checkpoints.files import Checkpoint
from lib.make_dpt import describe, load_weights, recognise_layout
from lib.model_types import MODEL_TYPES, type_from_file_name
from lib.releases import RELEASES
from tests.reference import synthetic_checkpoint

NAMES = [path.stem for path in (synthetic_checkpoint.HERE / "manifests").glob("*.json")]
MANIFESTS = {name: synthetic_checkpoint.load_manifest(name) for name in NAMES}


def release_file(manifest: dict) -> str | None:
    """The published file that a manifest lists the keys of, as its note says."""
    found = re.match(r"release file ([\w.]+)", manifest["note"])
    return found.group(1).rstrip(".") if found else None


BY_FILE = {row.file_name: row for row in RELEASES.values()}
PUBLISHED = {name: release_file(manifest) for name, manifest in MANIFESTS.items() if release_file(manifest)}


def test_every_manifest_of_a_release_has_its_row():
    assert len(PUBLISHED) >= 9 and set(PUBLISHED.values()) <= set(BY_FILE)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_file_is_recognised_as_its_row(name):
    row = BY_FILE[PUBLISHED[name]]
    tensors = {
        key: torch.empty(shape, device="meta", dtype=torch.int64 if dtype == "int64" else torch.float32)
        for key, (*shape, dtype) in MANIFESTS[name]["keys"].items()
    }
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    checkpoint = Checkpoint(path=Path(row.file_name), tensors=tensors)
    layout = recognise_layout(checkpoint)
    config, reason = describe(checkpoint, layout, None)
    assert (config["release"], config["model_type"]) == (row.name, row.model_type)
    assert "ASSUMED" not in reason
    bounded_bins = MANIFESTS[name].get("bin_centers_type") == "normed"
    expected_range = [0.001, 10.0] if bounded_bins else [0.0, MANIFESTS[name].get("max_depth_m")]
    assert config["output"]["value_range"] == expected_range
    load_weights(config, checkpoint.tensors, layout.keys, source=row.file_name)
    assert row.megabytes == pytest.approx(num_bytes / 1e6, abs=1)


@pytest.mark.parametrize("row", RELEASES.values(), ids=RELEASES)
def test_every_row_is_complete(row):
    assert row.model_type in MODEL_TYPES and row.name == row.name.lower() and " " not in row.name
    assert type_from_file_name(row.file_name) == type_from_file_name(row.name) == row.model_type
    assert row.licence in ("Apache-2.0", "CC-BY-NC-4.0", "MIT") and row.is_non_commercial == ("NC" in row.licence)
    assert row.parameters > 0 and row.features % 32 == 0
    assert not row.url or row.url.endswith("/" + row.file_name)
    assert not row.repository or (row.path.endswith(row.file_name) and row.repository.count("/") == 1)
    assert row.name.endswith("-giant") or bool(row.url) != bool(row.repository)


def test_rows_cannot_be_confused():
    rows = list(RELEASES.values())
    assert len({row.file_name for row in rows}) == len(rows)
    assert len({(row.model_type, row.features, row.blocks, row.side) for row in rows}) == len(rows)


def test_base_and_large_of_v2_are_non_commercial():
    """Also the metric ones: fine-tuned from non-commercial weights."""
    v2 = [row for row in RELEASES.values() if row.model_type.startswith("depth-anything-v2")]
    assert all(row.is_non_commercial != row.name.endswith("-small") for row in v2) and len(v2) == 10
    assert not any(row.is_non_commercial for row in RELEASES.values() if row.model_type == "depth-anything-v1")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("depth_anything_vitl14.pth", "depth-anything-v1"),
        ("depth-anything-small-hf", "depth-anything-v1"),
        ("Depth-Anything-V2-Large-hf", "depth-anything-v2"),
        ("depth_anything_v2_vitb (1).pth", "depth-anything-v2"),
        ("Depth-Anything-V2-Metric-Indoor-Base-hf", "depth-anything-v2-metric-hypersim"),
        ("Depth-Anything-V2-Metric-Outdoor-Large-hf", "depth-anything-v2-metric-vkitti"),
        ("depth_anything_v2_metric_hypersim_vitl.pth", "depth-anything-v2-metric-hypersim"),
        ("depth_anything_v2_vits_metric.pth", None),
        ("depth_anything_metric_depth_indoor.pt", "depth-anything-v1-metric-indoor"),
        ("depth_anything_metric_depth_outdoor (1).pt", "depth-anything-v1-metric-outdoor"),
        ("ZoeD_M12_N.pt", "zoedepth-nyu"),
        ("ZoeD_M12_K.pt", "zoedepth-kitti"),
        ("ZoeD_M12_NK.pt", "zoedepth-nyu-kitti"),
        ("Intel--zoedepth-nyu", "zoedepth-nyu"),
        ("Intel--zoedepth-kitti", "zoedepth-kitti"),
        ("Intel--zoedepth-nyu-kitti", "zoedepth-nyu-kitti"),
        ("model.safetensors", None),
        ("", None),
    ],
)
def test_names_tell_types(name, expected):
    assert type_from_file_name(name) == expected


@pytest.mark.parametrize("row", MODEL_TYPES.values(), ids=MODEL_TYPES)
def test_every_type_is_consistent(row):
    assert row.name in MODEL_TYPES and (row.max_depth is None or (row.is_metric and row.max_depth > 0))
    taps = row.taps.items() if isinstance(row.taps, dict) else []
    for blocks, numbers in taps:
        assert list(numbers) == sorted(set(numbers)) and numbers[-1] == blocks - 1
