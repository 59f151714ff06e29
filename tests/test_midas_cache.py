"""Cached biases of BEiT, SwinV2 and Swin (and positions of ViT and the hybrid): the same bits, exact memory, never stale."""

import copy
import threading

import pytest
import torch

from lib.encoders import beit, relative, swin
from lib.encoders.layers import WeightCache
from lib.make_dpt import describe, recognise_layout
from tests import midas

CACHED = ["vit", "beit", "swin2", "swin", "hybrid"]
RELATIVE = ["beit", "swin2", "swin"]
NATIVE, OTHER = midas.images(128, 128), midas.images(96, 160)
BLOCKS, HEADS = 4, 2  # of the small BEiT


@pytest.fixture(params=CACHED)
def model(request) -> torch.nn.Module:
    return midas.small_model(request.param)


@pytest.fixture(params=RELATIVE)
def relative_model(request) -> torch.nn.Module:
    return midas.small_model(request.param)


def uncached(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The same weights and precision, with nothing remembered."""
    fresh = copy.deepcopy(model)
    fresh.set_cache(False)
    return fresh.inference(image)


def num_cached(model: torch.nn.Module) -> int:
    return sum(len(module) for module in model.modules() if isinstance(module, WeightCache))


def test_the_same_bits_at_every_size(model):
    for image in (NATIVE, OTHER, NATIVE, OTHER):
        expected = uncached(model, image)
        assert torch.equal(model.inference(image), expected) and torch.equal(model.inference(image), expected)


def test_the_same_bits_with_the_small_cache(model):
    model.set_cache(True, small=True)
    for image in (NATIVE, OTHER, NATIVE):
        assert torch.equal(model.inference(image), uncached(model, image))
        assert torch.equal(model.inference(image), uncached(model, image))


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize(
    "family, function", [("beit", "resize_offset_table"), ("swin", "resize_offset_table"), ("swin2", "log_offsets")]
)
def test_a_second_picture_of_the_same_size_needs_no_new_table(monkeypatch, family, function, small):
    model, module = midas.small_model(family), beit if family == "beit" else swin
    original, calls = getattr(module, function), []

    def counting(*arguments, **options):
        calls.append(function)
        return original(*arguments, **options)

    monkeypatch.setattr(module, function, counting)
    model.set_cache(True, small=small)
    model.inference(OTHER)
    num_tables = len(calls)
    assert num_tables == sum(isinstance(part, relative.BiasCache) for part in model.modules())
    model.inference(OTHER.flip(-1))
    assert len(calls) == num_tables
    model.inference(NATIVE)
    assert len(calls) == 2 * num_tables


# Memory


@pytest.mark.parametrize("dtype, size", [(torch.float32, 4), (torch.bfloat16, 2)], ids=str)
@pytest.mark.parametrize("image, patches", [(NATIVE, 64), (OTHER, 60)], ids=["8 x 8 patches", "6 x 10 patches"])
def test_beit_remembers_one_bias_for_each_block_and_not_a_byte_more(dtype, size, image, patches):
    model = midas.small_model("beit").to(dtype)
    assert model.cache_bytes() == 0
    model.inference(image)
    assert model.cache_bytes() == HEADS * (1 + patches) ** 2 * size * BLOCKS


def test_only_the_latest_size_is_remembered(relative_model):
    """After any row of sizes, as much as after the last one alone."""
    relative_model.inference(OTHER)
    alone = relative_model.cache_bytes()
    for image in (NATIVE, midas.images(160, 160), OTHER):
        relative_model.inference(image)
        assert num_cached(relative_model) == sum(isinstance(part, relative.BiasCache) for part in relative_model.modules())
    assert relative_model.cache_bytes() == alone


def sizes_of_biases(encoder: dict) -> tuple[int, int]:
    """How many numbers the full biases have at the native size, and how many the tables; from the encoder's config."""
    if "table_side" in encoder:  # BEiT
        num_tables, side = encoder["heads"] * encoder["num_blocks"], encoder["table_side"]
        return num_tables * (1 + side**2) ** 2, num_tables * ((2 * side - 1) ** 2 + 3)
    full = tables = 0
    for depth, heads, window, count in zip(*(encoder[key] for key in ("depths", "heads", "windows", "windows_per_side"))):
        num_masks = count**2 if count > 1 else 1  # a shifted block, which is every second one, has a mask for each window
        full += heads * depth // 2 * (1 + num_masks) * window**4
        tables += heads * depth * (2 * window - 1) ** 2
    return full, tables


@pytest.mark.parametrize("family", RELATIVE)
def test_the_full_cache_holds_the_biases_and_the_small_one_the_tables(family):
    full, tables = sizes_of_biases(midas.CONFIGS[family]["imgencoder"])
    model = midas.small_model(family)
    model.inference(NATIVE)
    assert model.cache_bytes() == 4 * full
    model.set_cache(True, small=True)
    model.inference(NATIVE)
    assert model.cache_bytes() == 4 * tables


@pytest.mark.parametrize(
    "name, gigabytes, ratio",
    [("dpt_beit_large_512", 1.61, 264), ("dpt_beit_base_384", 0.19, 150), ("dpt_swin2_large_384", 0.80, 184)],
)
def test_what_the_caches_of_the_largest_releases_hold(name, gigabytes, ratio):
    """In float32; half of it in bfloat16. And how many times less the small cache is."""
    checkpoint = midas.as_checkpoint(midas.shapes_of(name), name)
    config, _ = describe(checkpoint, recognise_layout(checkpoint), None)
    full, tables = sizes_of_biases(config["imgencoder"])
    assert 4e-9 * full == pytest.approx(gigabytes, abs=0.01) and full / tables == pytest.approx(ratio, abs=1)


def test_switched_off_nothing_is_held(model):
    model.inference(NATIVE)
    assert model.cache_bytes() > 0
    model.set_cache(False)
    assert model.cache_bytes() == 0
    model.inference(NATIVE)
    assert model.cache_bytes() == 0


INDEX_TABLES = [beit.offset_index_with_class.remembered, swin.window_index.remembered]


def forget_index_tables() -> None:
    for cache in INDEX_TABLES:
        cache.cache_clear()


def test_index_tables_are_held_for_few_sizes():
    """They depend on no weights, so that models share them; BEiT's are as large as one head's bias."""
    for side in range(1, 12):
        beit.offset_index_with_class((side, 3))
        swin.window_index((side, 3))
    assert [cache.cache_info().currsize for cache in INDEX_TABLES] == [1, 4]


# New weights


def change_in_place(weight):
    with torch.no_grad():
        weight.add_(0.5)


def change_through_data(weight):
    weight.data.mul_(-1)


def take_a_step(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.5).step()


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize("change", [change_in_place, change_through_data, take_a_step])
def test_changed_weights_are_noticed(relative_model, change, small):
    """Each weight that a bias depends on, one after the other: BEiT's and Swin's tables, SwinV2's bias network."""
    relative_model.set_cache(True, small=small)
    before = relative_model.inference(NATIVE)
    names = [
        name
        for name, _ in relative_model.named_parameters()
        if name.endswith("table") or ".bias.expand" in name or ".bias.contract" in name
    ]
    for name in (names[0], names[-1]):
        change(relative_model.get_parameter(name))
        after = relative_model.inference(NATIVE)
        assert torch.equal(after, uncached(relative_model, NATIVE)) and not torch.equal(after, before)
        before = after


def test_loaded_weights_are_noticed(model):
    before = model.inference(NATIVE)
    other = {key: tensor * 1.1 if tensor.is_floating_point() else tensor for key, tensor in model.state_dict().items()}
    model.load_state_dict(other)
    after = model.inference(NATIVE)
    assert torch.equal(after, uncached(model, NATIVE)) and not torch.equal(after, before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_another_precision_is_noticed(model, dtype):
    for changed in (torch.float32, dtype, torch.float32):
        model.to(changed)
        assert model.cache_bytes() == 0
        prediction = model.inference(NATIVE)
        assert prediction.dtype == changed and torch.equal(prediction, uncached(model, NATIVE))


# Gradients, threads, compilation


@pytest.mark.parametrize("family", RELATIVE)
def test_training_after_inference_mode(family):
    """Neither the biases nor the index tables that were first computed in inference mode may reach a training step."""
    model = midas.small_model(family)
    forget_index_tables()
    with torch.inference_mode():
        inside = model(NATIVE)
    held = model.cache_bytes()
    model(NATIVE).mean().backward()
    assert model.cache_bytes() == held > 0
    biases = [
        parameter.grad for name, parameter in model.named_parameters() if name.endswith(("table", "bias.contract.weight"))
    ]
    assert all(gradient.abs().sum() > 0 for gradient in biases)
    assert torch.equal(model.inference(NATIVE), inside)


@pytest.mark.parametrize("family", RELATIVE)
def test_gradients_do_not_depend_on_the_cache(family):
    cached, plain = midas.small_model(family), midas.small_model(family)
    plain.set_cache(False)
    cached.inference(NATIVE)
    for each in (cached, plain):
        each(NATIVE).mean().backward()
    for ours, other in zip(cached.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, other.grad)


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
def test_threads_may_share_a_model(relative_model, small):
    """Two threads with different sizes throw out each other's bias all the time."""
    relative_model.set_cache(True, small=small)
    images = [NATIVE[:, :, :64, :64], OTHER[:, :, :32, :96]]
    expected = [uncached(relative_model, image) for image in images]
    wrong = []

    def work(start: int) -> None:
        for step in range(8):
            which = (start + step) % 2
            try:
                if not torch.equal(relative_model.inference(images[which]), expected[which]):
                    wrong.append(which)
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("family", midas.FAMILIES)
def test_every_encoder_compiles_in_one_piece(family):
    """The caches step aside; "eager" runs what was captured without generating code. Afterwards they work as before."""
    model = midas.small_model(family)
    forget_index_tables()
    encode = torch.compile(lambda image: model.imgencoder(*model.patch_embed(image)), fullgraph=True, backend="eager")
    with torch.no_grad():
        stages = encode(NATIVE)
        torch._dynamo.reset()
        assert model.cache_bytes() == 0
        for ours, plain in zip(stages, model.imgencoder(*model.patch_embed(NATIVE)), strict=True):
            assert torch.allclose(ours, plain, atol=1e-3)


@pytest.mark.parametrize("family", RELATIVE)
def test_models_with_relative_positions_can_be_exported(family):
    """The tracer's placeholder tensors must not stay in the caches, where the next prediction would find them."""
    model = midas.small_model(family)
    forget_index_tables()
    with torch.no_grad():
        exported = torch.export.export(model, (NATIVE,), strict=False)
        prediction = exported.module()(NATIVE)
    assert model.cache_bytes() == 0
    assert torch.allclose(prediction, model.inference(NATIVE), atol=1e-4)
    model(NATIVE).mean().backward()
