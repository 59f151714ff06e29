"""Properties that hold for every size, every picture and every key, found to fail by hypothesis if they can."""



import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lib.checkpoints.files import read_checkpoint
from lib.encoders.vit import resize_position_table
from lib.errors import CheckpointError, PictureError, UserError
from lib.image_processor import DPTImageProcessor, PictureRule, fit_size
from lib.make_dpt import make_dpt_from_state_dict
from lib.model_types import MODEL_TYPES, type_from_file_name
from lib.predict import predict_depth
from lib.releases import RELEASES

FITS = ["lower_bound", "upper_bound", "minimal", "stretch"]
SIDES = st.integers(1, 5000)
MULTIPLES = st.sampled_from([1, 14, 16, 32])
QUICK = settings(max_examples=100, deadline=None)
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NATIVE = DPTImageProcessor(PictureRule(side=518, multiple=14))


@QUICK
@given(SIDES, SIDES, st.integers(14, 1000), MULTIPLES, st.sampled_from(FITS))
def test_every_fit_gives_multiples_within_its_bound(height, width, side, multiple, fit):
    rows, columns = fit_size(height, width, target_hw=(side, side), multiple=multiple, fit=fit)
    assert rows % multiple == columns % multiple == 0 and min(rows, columns) >= multiple
    if fit == "lower_bound":
        assert min(rows, columns) >= side and min(rows, columns) < side + multiple
    if fit == "upper_bound":
        assert max(rows, columns) <= max(side, multiple)
        assert max(rows, columns) > side - multiple
    if fit == "stretch":
        assert rows == columns and abs(rows - side) <= max(multiple / 2, multiple - side)


@QUICK
@given(SIDES, SIDES)
def test_the_native_size_keeps_the_aspect_ratio_to_a_patch(height, width):
    """Each side is at most half a patch from the exactly scaled one, and the shorter one is 518."""
    try:
        rows, columns = NATIVE.network_size(height, width)
    except PictureError:
        assert max(height, width) / min(height, width) > 50_000_000 / 518 / 518 - 1
        return
    scale = 518 / min(height, width)
    assert min(rows, columns) == 518
    assert abs(rows - scale * height) <= 7.0001 and abs(columns - scale * width) <= 7.0001


@QUICK
@given(SIDES, SIDES, st.integers(1, 2000), st.booleans())
def test_turning_the_picture_turns_the_size(height, width, side, square):
    options = {"max_side_length": side, "use_square_sizing": square}
    size = NATIVE.network_size(height, width, **options)
    assert size == NATIVE.network_size(width, height, **options)[::-1]


@QUICK
@given(SIDES, SIDES, st.integers(14, 2000))
def test_the_processing_size_bounds_the_longer_side(height, width, side):
    size = NATIVE.network_size(height, width, max_side_length=side)
    assert side - 14 < max(size) <= side
    if height == width:
        assert size[0] == size[1]


@st.composite
def pictures(draw) -> np.ndarray:
    """Small arrays of every kind that counts as a picture."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    channels = draw(st.sampled_from([(), (1,), (3,), (4,)]))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.float32, np.float64, np.float16]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.random((*shape, *channels))
    return values.astype(dtype) if np.issubdtype(dtype, np.floating) else (values * np.iinfo(dtype).max).astype(dtype)


@QUICK
@given(pictures(), st.integers(14, 100), st.booleans(), st.sampled_from(["cv2_cubic", "antialiased_cubic"]))
def test_every_picture_becomes_a_finite_tensor(picture, side, square, resample):
    processor = DPTImageProcessor(PictureRule(side=side, multiple=14, resample=resample))
    prepared = processor.prepare_image_bgr(picture, side, square)
    size = processor.network_size(*picture.shape[:2], max_side_length=side, use_square_sizing=square)
    assert prepared.shape == (1, 3, *size)
    assert prepared.dtype == torch.float32 and torch.isfinite(prepared).all() and prepared.abs().max() < 5


@QUICK
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.sampled_from(["v1", "v2"]))
def test_maps_between_bounds_stay_between_them(rows, columns, height, width, version):
    """Both Depth-Anythings restore by linear interpolation, which never overshoots; a flat map stays flat."""
    processor = DPTImageProcessor(MODEL_TYPES[f"depth-anything-{version}"].picture)
    depth = torch.rand(rows, columns, generator=torch.Generator().manual_seed(rows * columns))
    scaled = processor.scale_prediction(depth, (height, width))
    assert scaled.shape == (height, width)
    assert depth.min() - 1e-6 <= scaled.min() and scaled.max() <= depth.max() + 1e-6
    flat = processor.scale_prediction(torch.full((rows, columns), 3.0), (height, width))
    assert torch.allclose(flat, torch.tensor(3.0))


@pytest.fixture(scope="module")
def model_and_processor(small_file):
    return make_dpt_from_state_dict(small_file)[1:]


@SLOW
@given(st.integers(1, 50), st.integers(1, 50), st.integers(14, 140))
def test_every_picture_gets_a_depth_map_of_its_size(model_and_processor, height, width, side):
    picture = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = predict_depth(*model_and_processor, picture, max_side_length=side)
    assert result.depth.shape == (height, width) and np.isfinite(result.depth).all() and result.depth.min() >= 0


@SLOW
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
def test_every_grid_of_patches_works_and_pictures_of_a_batch_are_independent(model_and_processor, rows, columns, batch):
    model, _ = model_and_processor
    images = torch.randn(batch, 3, 14 * rows, 14 * columns, generator=torch.Generator().manual_seed(rows))
    together = model.inference(images)
    assert together.shape == (batch, 14 * rows, 14 * columns)
    alone = model.inference(images[-1:])[0]
    assert (together[-1] - alone).abs().max() <= 1e-4 * max(alone.std(), 1e-2)


@QUICK
@given(st.integers(2, 9), st.integers(1, 25), st.integers(1, 25), st.sampled_from([0.0, 0.1]))
def test_a_position_table_that_is_flat_stays_flat_at_every_size(side, rows, columns, offset):
    """And the result has one vector for each patch, in the order of the features."""
    flat = torch.tensor([1.5, -2.0, 7.0]).expand(1, side * side, 3)
    resized = resize_position_table(flat, (rows, columns), mode="bicubic", offset=offset)
    assert resized.shape == (1, rows * columns, 3)
    assert torch.allclose(resized, flat[:, :1].expand_as(resized), atol=1e-5)


@QUICK
@given(st.integers(2, 9), st.integers(1, 20), st.integers(1, 20), st.sampled_from([0.0, 0.1]))
def test_resizing_positions_commutes_with_transposing(side, rows, columns, offset):
    table = torch.rand(1, side * side, 2, generator=torch.Generator().manual_seed(side))
    resized = resize_position_table(table, (rows, columns), mode="bicubic", offset=offset)
    resized_turned = resize_position_table(turned(table, side, side), (columns, rows), mode="bicubic", offset=offset)
    assert torch.allclose(turned(resized_turned, columns, rows), resized, atol=1e-5)


def turned(table: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The table of the grid with rows and columns exchanged."""
    return table.unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)


@QUICK
@given(st.binary(max_size=300))
def test_no_bytes_lead_to_anything_but_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="bytes.pth"):
        read_checkpoint(path)


@QUICK
@given(st.text(max_size=50))
def test_no_model_type_leads_to_anything_but_a_sentence(small_file, name):
    assume(name not in MODEL_TYPES and name not in RELEASES)
    with pytest.raises(CheckpointError):
        make_dpt_from_state_dict(small_file, model_type=name)


@QUICK
@given(
    st.sampled_from(list(RELEASES.values())),
    st.sampled_from([str.lower, str.upper, str.title]),
    st.sampled_from("_- ."),
)
def test_published_file_names_are_known_however_they_are_spelled(release, spell, separator):
    stem, suffix = release.file_name.rsplit(".", 1)
    name = f"{spell(stem.replace('_', separator).replace('-', separator))}.{suffix}"
    assert type_from_file_name(name) == type_from_file_name(f"/a folder/metric/v1/{name}") == release.model_type


@QUICK
@given(st.text(max_size=3000))
def test_every_message_is_one_printable_line(text):
    shown = str(UserError(text))
    assert shown.isprintable() and len(shown) < 1100
    if text.isprintable() and len(text) <= 1000:
        assert shown == text


