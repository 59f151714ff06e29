"""The recorder sees what the models really compute, where it belongs in the picture, and leaves them as they were."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F

from experiments.recorder import Recorder, SoftmaxCatcher, find_blocks
from lib.encoders.levit import KEY_FEATURES, LevitAttention
from lib.encoders.swin import SwinBlock
from lib.make_dpt import make_dpt_from_state_dict
from tests import midas
from tests.conftest import SAME, difference
from tests.reference import synthetic_checkpoint

FAMILIES = ["dinov2", *midas.FAMILIES]
SIZES = {"dinov2": (112, 84), "vit": (128, 96), "beit": (96, 128), "hybrid": (128, 96), "swin2": (128, 160), "swin": (160, 128)}


@pytest.fixture(scope="module")
def models(small_file):
    models = {family: midas.small_model(family) for family in midas.FAMILIES}
    return models | {"dinov2": make_dpt_from_state_dict(small_file)[1]}


def picture(family: str, batch: int = 1) -> torch.Tensor:
    """Not square, where the family can."""
    height, width = SIZES.get(family, (128, 128))
    return synthetic_checkpoint.model_input("midas", height, width, batch=batch)


def hooks_of(model: torch.nn.Module) -> int:
    kinds = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_forward_hooks_always_called",
        "_backward_hooks",
        "_forward_hooks_with_kwargs",
    )
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def settings_of(model: torch.nn.Module) -> list:
    """Every attribute of every module that is no module or tensor."""
    return [
        (name, key, value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple | type(None))
    ]


def record_all(model, image, **which) -> Recorder:
    numbers = range(len(find_blocks(model)))
    with Recorder(model, **(which or {"attention": numbers, "tokens": numbers})) as recorder:
        model.inference(image)
    return recorder


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_left_as_it_was(models, family):
    model, image = models[family], picture(family)
    before, settings, attributes = model.inference(image), settings_of(model), [set(vars(m)) for m in model.modules()]
    numbers = range(len(find_blocks(model)))
    with Recorder(model, attention=numbers, mean_attention=numbers, tokens=numbers):
        assert difference(model.inference(image), before) <= SAME  # the plain path rounds differently
        assert hooks_of(model) > 0
    assert hooks_of(model) == 0 and settings_of(model) == settings
    assert [set(vars(module)) for module in model.modules()] == attributes
    assert torch.equal(model.inference(image), before)


def test_the_model_is_left_as_it_was_after_an_error(models, monkeypatch):
    seen = []
    catch = SoftmaxCatcher.__torch_function__
    monkeypatch.setattr(SoftmaxCatcher, "__torch_function__", lambda *call: seen.append(call[1]) or catch(*call))
    model, image = models["beit"], picture("beit")
    before, settings = model.inference(image), settings_of(model)
    block = model.imgencoder.blocks[1]
    forward = block.attention.project.forward
    block.attention.project.forward = lambda tokens: 1 / 0  # in the middle of the second attention
    with pytest.raises(ZeroDivisionError), Recorder(model, attention=[0, 1]) as recorder:
        model.inference(image)
    del block.attention.project.forward
    assert block.attention.project.forward == forward
    assert hooks_of(model) == 0 and settings_of(model) == settings and 0 in recorder.attention
    assert seen
    seen.clear()
    assert torch.equal(model.inference(image), before) and not seen  # nobody listens any more


def test_no_memory_is_kept(models):
    model = models["swin2"]
    recorder = record_all(model, picture("swin2"))
    tensors = [record.weights for record in recorder.attention.values()]
    tensors += [record.features for record in recorder.tokens.values()]
    watched = [weakref.ref(tensor) for tensor in tensors]
    del tensors
    recorder.clear()
    gc.collect()
    assert [reference() for reference in watched if reference() is not None] == []


def test_only_what_is_asked_for_is_kept(models):
    model = models["vit"]
    recorder = record_all(model, picture("vit"), attention=[1], mean_attention=[2], tokens=[0, 3])
    assert (set(recorder.attention), set(recorder.mean_attention), set(recorder.tokens)) == ({1}, {2}, {0, 3})
    with Recorder(model, tokens=[3]):
        assert hooks_of(model) == 2  # one for the grid
        assert all(module.fused for module in model.modules() if hasattr(module, "fused"))


def test_a_block_that_is_not_there():
    with pytest.raises(ValueError, match=r"blocks 0 to 3, not \[4\]"):
        Recorder(midas.small_model("vit"), attention=[4])


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_sum_to_one(models, family):
    recorder = record_all(models[family], picture(family, batch=2))
    for record in recorder.attention.values():
        assert (record.weights >= 0).all() and record.weights.shape[0] == 2
        assert torch.allclose(record.weights.sum(-1), torch.ones(()), atol=1e-5)
        row = record.row(record.query_tokens.numel() // 2)
        assert torch.allclose(row.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_means_of_heads(models, family):
    model = models[family]
    numbers = range(len(find_blocks(model)))
    recorder = record_all(model, picture(family), attention=numbers, mean_attention=numbers)
    for number in numbers:
        mean = recorder.mean_attention[number].row(3)
        assert torch.allclose(mean[:, 0], recorder.attention[number].row(3).mean(1), atol=1e-6)


def dense(record) -> torch.Tensor:
    """The whole matrix of attention in the order of the picture's tokens: B x A x Q x K."""
    rows = torch.stack([record.row(token) for token in range(record.query_tokens.numel())], dim=2)
    columns = torch.stack([record.column(token) for token in range(record.key_tokens.numel())], dim=3)
    assert torch.equal(rows, columns)
    return rows


def mixed(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Attention times values, heads beside each other: B A Q K and B A K D -> B Q A*D."""
    return (weights @ values).transpose(1, 2).flatten(2)


def values_of(attention: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """The values of a module's heads, B x A x N x D. tokens: B x N x C."""
    if isinstance(attention, LevitAttention):
        layer = attention.qkv if attention.stride == 1 else attention.key_value
        per_head = layer(tokens).unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # B N . -> B A N .
        return per_head[..., -attention.value_features :]
    value = attention.qkv(tokens)[..., -tokens.shape[-1] :]  # B N 3C -> B N C
    return value.unflatten(-1, (attention.heads, -1)).transpose(1, 2)  # B N C -> B A N D


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_recorded_attention_times_values_is_what_the_block_computes(models, family):
    """Whole matrices in the order of the picture, also for shifted windows: a window in a wrong place would show."""
    model, image = models[family], picture(family, batch=2)
    recorder = record_all(model, image)
    seen, hooks = {}, []
    for number, block in enumerate(recorder.blocks):  # what goes in and comes out
        module = block.last if isinstance(block.last, SwinBlock) else block.attention
        hooks.append(module.register_forward_hook(lambda m, inputs, output, n=number: seen.update({n: (inputs, output)})))
    model.inference(image)
    for hook in hooks:
        hook.remove()
    for number, block in enumerate(recorder.blocks):
        attention, (inputs, output) = block.attention, seen[number]
        if isinstance(block.last, SwinBlock):
            grid, windows_hw = inputs
            grid = grid if block.last.norms_after else block.last.norm_1(grid)
            tokens, output = grid.flatten(1, 2), block.last.attend_in_windows(grid, windows_hw).flatten(1, 2)
        else:
            tokens = inputs[0]
        together = mixed(dense(recorder.attention[number]), values_of(attention, tokens))
        together = F.hardswish(together) if isinstance(attention, LevitAttention) else together
        assert difference(attention.project(together), output) <= SAME, block.name


@pytest.mark.parametrize("family", FAMILIES)
def test_products_with_rows_and_columns(models, family):
    recorder = record_all(models[family], picture(family))
    for record in recorder.attention.values():
        matrix = dense(record)
        queries = torch.rand(1, record.heads, matrix.shape[2])
        keys = torch.rand(1, record.heads, matrix.shape[3])
        assert torch.allclose(record.from_queries(queries), (queries[..., None, :] @ matrix)[..., 0, :], atol=1e-5)
        assert torch.allclose(record.from_keys(keys), (matrix @ keys[..., None])[..., 0], atol=1e-5)


@pytest.mark.parametrize("family", ["swin2", "swin"])
@torch.no_grad()
def test_shifted_windows_by_brute_force(models, family):
    """Windows whose borders are moved by half a window, cut off at the edges of the picture: nothing is rolled here."""
    model, image = models[family], picture(family)
    recorder = record_all(model, image)
    block, record = model.imgencoder.stages[1][1], recorder.attention[3]
    attention, grid_hw = block.attention, record.query_grid_hw
    windows = model.imgencoder.windows_per_side[1]
    window_hw = [side // windows for side in grid_hw]
    before = recorder.tokens[2].features if block.norms_after else block.norm_1(recorder.tokens[2].features)
    query, key, _ = attention.qkv(before[0]).unflatten(-1, (3, attention.heads, -1)).permute(1, 2, 0, 3)  # 3 A N D
    table = attention.bias(tuple(window_hw))  # R A
    if block.norms_after:
        query, key, scale = F.normalize(query, dim=-1), F.normalize(key, dim=-1), attention.logit_scale.exp().flatten()
    else:
        scale = torch.full((attention.heads,), query.shape[-1] ** -0.5)

    places = [(y, x) for y in range(grid_hw[0]) for x in range(grid_hw[1])]

    def window_of(place):
        return tuple((at - side // 2) // side for at, side in zip(place, window_hw, strict=True))

    assert record.query_grid_hw == (image.shape[2] // 8, image.shape[3] // 8) and windows > 1
    for number, place in enumerate(places):
        allowed = [other for other, there in enumerate(places) if window_of(there) == window_of(place)]
        logits = []
        for other in allowed:
            dy, dx = place[0] - places[other][0], place[1] - places[other][1]
            entry = (dy + window_hw[0] - 1) * (2 * window_hw[1] - 1) + dx + window_hw[1] - 1
            logits.append(scale * (query[:, number] * key[:, other]).sum(-1) + table[entry])
        expected = torch.zeros(attention.heads, len(places))
        expected[:, allowed] = torch.stack(logits, dim=1).softmax(-1)
        assert torch.allclose(record.row(number)[0], expected, atol=1e-5), place


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_tokens_are_what_the_stages_are_made_of(models, family):
    model, image = models[family], picture(family)
    recorder = record_all(model, image)
    tokens, grid_hw = model.patch_embed(image)
    stages = model.imgencoder(tokens, grid_hw)
    encoder = getattr(model.imgencoder, "vit", model.imgencoder)
    if family in ("swin", "swin2"):
        last_blocks = [1, 3, 5, 7]
    elif family == "levit":
        last_blocks = [tap // 2 for tap in encoder.taps]
    else:
        last_blocks, stages = encoder.taps, stages[-len(encoder.taps) :]
    for number, stage in zip(last_blocks, stages, strict=True):
        record = recorder.tokens[number]
        if stage.dim() == 4:
            assert difference(record.patches(), stage.permute(0, 2, 3, 1)) <= SAME
        else:
            features = encoder.norm(record.features) if family == "dinov2" else record.features
            assert difference(features, stage) <= SAME
            assert torch.equal(record.patches()[0, 0, 1], record.features[0, 2])  # after class token and first patch


def test_levit_leaves_out_what_never_runs(models):
    encoder = models["levit"].imgencoder
    blocks = find_blocks(models["levit"])
    assert len(blocks) == 7 < len(encoder.layers) // 2
    assert [block.attention.stride for block in blocks] == [1, 1, 2, 1, 1, 2, 1] and KEY_FEATURES == 32


def test_half_precision_is_recorded_as_float32(small_file):
    model = make_dpt_from_state_dict(small_file)[1].bfloat16()
    recorder = record_all(model, picture("dinov2"))
    record = recorder.attention[0]
    assert record.weights.dtype == recorder.tokens[0].features.dtype == torch.float32
    assert torch.allclose(record.weights.sum(-1), torch.ones(()), atol=0.02)


def test_a_model_that_takes_the_plain_path_keeps_it(models):
    model = midas.small_model("vit")
    model.set_fused_attention(False)
    record_all(model, picture("vit"))
    assert not any(module.fused for module in model.modules() if hasattr(module, "fused"))
