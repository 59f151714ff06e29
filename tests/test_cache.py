"""Caches cannot lie (WeightCache in lib/encoders/layers.py): whatever happens, cached and uncached numbers agree."""

import copy
import pickle
import threading
from collections.abc import Callable

import pytest
import torch

import lib.encoders.layers as layers
import lib.encoders.vit as vit
from lib.encoders.layers import WeightCache
from lib.make_dpt import make_dpt_from_state_dict
from tests.reference import synthetic_checkpoint

IMAGE = synthetic_checkpoint.model_input("cache", 56, 84)
OTHER_SIZE = synthetic_checkpoint.model_input("cache", 70, 42)


@pytest.fixture
def model(small_file) -> torch.nn.Module:
    return make_dpt_from_state_dict(small_file)[1]


@pytest.fixture
def count(monkeypatch) -> list[tuple[int, int]]:
    """The grid size of every resizing of a position table, in the order in which they happen."""
    calls = []
    original = vit.resize_position_table

    def counting(table, grid_hw, **options):
        calls.append(grid_hw)
        return original(table, grid_hw, **options)

    monkeypatch.setattr(vit, "resize_position_table", counting)
    return calls


def uncached(model: torch.nn.Module, image: torch.Tensor) -> torch.Tensor:
    """The same weights and precision, with nothing remembered."""
    fresh = copy.deepcopy(model)
    fresh.set_cache(False)
    return fresh.inference(image)


# It remembers


def test_a_second_picture_of_the_same_size_needs_no_resizing(model, count):
    first, second = model.inference(IMAGE), model.inference(IMAGE)
    assert count == [(4, 6)] and torch.equal(first, second)


def test_each_size_is_remembered(model, count):
    for image in (IMAGE, OTHER_SIZE, IMAGE, OTHER_SIZE):
        assert torch.equal(model.inference(image), uncached(model, image))
    assert count.count((4, 6)) == count.count((5, 3)) == 1 + 2  # once for the model, twice for the uncached ones


def test_only_the_latest_sizes_are_kept(model, count):
    cache = model.imgencoder.position_cache
    sizes = [(14 * rows, 28) for rows in range(1, 3 + cache.max_entries)]
    for size in sizes:
        model.inference(torch.zeros(1, 3, *size))
    assert len(cache) == cache.max_entries
    count.clear()
    model.inference(torch.zeros(1, 3, *sizes[-1]))
    assert count == []
    model.inference(torch.zeros(1, 3, *sizes[0]))
    assert count == [(1, 2)]


def test_the_size_used_longest_ago_goes_first():
    cache, weight = WeightCache(max_entries=2), torch.zeros(1)
    with torch.no_grad():
        for key in ("a", "b", "a", "c"):
            cache(lambda: torch.zeros(1), weights=[weight], key=key)
        assert cache(fail, weights=[weight], key="a") == 0
        with pytest.raises(AssertionError):
            cache(fail, weights=[weight], key="b")


def fail() -> torch.Tensor:
    raise AssertionError("had to be computed")


def test_it_adds_nothing_to_a_state_dict(model):
    before = list(model.state_dict())
    model.inference(IMAGE)
    assert list(model.state_dict()) == before and not list(model.imgencoder.position_cache.parameters())


# It can be switched off


def test_switched_off_it_remembers_nothing(small_file, count):
    _, model, _ = make_dpt_from_state_dict(small_file, enable_cache=False)
    model.inference(IMAGE), model.inference(IMAGE)
    assert count == [(4, 6)] * 2 and len(model.imgencoder.position_cache) == 0


def test_switching_it_off_forgets_and_gives_the_same_bits(model):
    cached = model.inference(IMAGE)
    model.set_cache(False)
    assert len(model.imgencoder.position_cache) == 0
    assert torch.equal(model.inference(IMAGE), cached)


# The weights change


def change_in_place(model):
    with torch.no_grad():
        model.imgencoder.position_table.add_(0.1)


def change_a_view(model):
    with torch.no_grad():
        model.imgencoder.position_table[:, 3:].mul_(0)


def change_through_data(model):
    model.imgencoder.position_table.data.add_(0.1)


def change_one_number_through_data(model):
    model.imgencoder.position_table.data[0, 0, 7] += 0.5


def change_through_detach(model):
    model.imgencoder.position_table.detach()[:, 3:] *= 2


def change_through_numpy(model):
    model.imgencoder.position_table.detach().numpy()[:, 3:] *= 2


def replace_data(model):
    table = model.imgencoder.position_table
    table.data = table.data.flip(1)


def replace_parameter(model):
    model.imgencoder.position_table = torch.nn.Parameter(model.imgencoder.position_table.detach() * 2)


def load_other_weights(model):
    tensors = {key: tensor * 1.1 for key, tensor in model.state_dict().items()}
    model.load_state_dict(tensors)


def load_and_assign_other_weights(model):
    tensors = {key: tensor * 1.1 for key, tensor in model.state_dict().items()}
    model.load_state_dict(tensors, assign=True)


def take_a_training_step(model):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with torch.enable_grad():
        model(IMAGE).mean().backward()
    optimizer.step()
    model.eval()


def take_a_training_step_in_eval_mode(model):
    with torch.enable_grad():
        model(IMAGE).mean().backward()
    torch.optim.AdamW([model.imgencoder.position_table], lr=0.1).step()


def change_in_inference_mode(model):
    with torch.inference_mode():
        model.imgencoder.position_table.add_(0.1)


CHANGES = [
    change_in_place,
    change_a_view,
    change_through_data,
    change_one_number_through_data,
    change_through_detach,
    change_through_numpy,
    replace_data,
    replace_parameter,
    load_other_weights,
    load_and_assign_other_weights,
    take_a_training_step,
    take_a_training_step_in_eval_mode,
    change_in_inference_mode,
]


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_noticed(model, change):
    before = model.inference(IMAGE)
    change(model)
    after = model.inference(IMAGE)
    assert torch.equal(after, uncached(model, IMAGE)) and not torch.equal(after, before)


TRACKED = [change for change in CHANGES if "through" not in change.__name__]


@pytest.mark.parametrize("change", TRACKED)
def test_tracked_changes_are_noticed_without_comparing_values(model, monkeypatch, change):
    """As on a GPU, where comparing would make the device wait: address and version tell."""
    monkeypatch.setattr(layers, "COMPARED_DEVICES", ())
    before = model.inference(IMAGE)
    change(model)
    after = model.inference(IMAGE)
    assert torch.equal(after, uncached(model, IMAGE)) and not torch.equal(after, before)


def test_changed_weights_are_noticed_for_every_remembered_size(model):
    for image in (IMAGE, OTHER_SIZE):
        model.inference(image)
    change_through_data(model)
    for image in (IMAGE, OTHER_SIZE):
        assert torch.equal(model.inference(image), uncached(model, image))


def test_weights_given_for_one_call_are_used(model):
    """torch.func.functional_call swaps the parameters and puts them back."""
    before = model.inference(IMAGE)
    doubled = {"imgencoder.position_table": model.imgencoder.position_table.detach() * 2}
    with torch.no_grad():
        other = torch.func.functional_call(model, doubled, (IMAGE,))
    assert not torch.equal(other, before) and torch.equal(model.inference(IMAGE), before)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_many_models_at_once(model):
    """torch.vmap over stacked weights gives what each model alone gives."""
    tensors = [{key: tensor * factor for key, tensor in model.state_dict().items()} for factor in (1.0, 1.01)]
    stacked = {key: torch.stack([each[key] for each in tensors]) for key in tensors[0]}
    with torch.no_grad():
        together = torch.vmap(lambda weights: torch.func.functional_call(model, weights, (IMAGE,)))(stacked)
    for prediction, weights in zip(together, tensors, strict=True):
        model.load_state_dict(weights)
        assert torch.allclose(prediction, model.inference(IMAGE), atol=1e-3)


def test_a_result_that_a_caller_wrote_into_is_not_served_again(model):
    before = model.inference(IMAGE)
    with torch.no_grad():
        model.imgencoder.positions((4, 6)).add_(1)
    assert torch.equal(model.inference(IMAGE), before)


# Precision and device


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_another_precision_is_noticed(model, dtype):
    exact = model.inference(IMAGE)
    for changed in (dtype, torch.float32):
        model.to(changed)
        prediction = model.inference(IMAGE)
        assert prediction.dtype == changed and torch.equal(prediction, uncached(model, IMAGE))
    assert torch.allclose(model.inference(IMAGE), exact, atol=0.5)


def test_moving_the_model_forgets(model):
    model.inference(IMAGE)
    model.to("meta")
    assert len(model.imgencoder.position_cache) == 0
    with torch.no_grad():
        assert model(IMAGE.to("meta")).shape == (1, 56, 84)
    assert len(model.imgencoder.position_cache) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_and_back(model):
    before = model.inference(IMAGE)
    on_gpu = model.cuda().inference(IMAGE)
    assert torch.equal(on_gpu, model.inference(IMAGE)) and (on_gpu.cpu() - before).abs().max() < 0.01
    change_in_place(model)
    assert torch.equal(model.inference(IMAGE), uncached(model, IMAGE))
    assert torch.equal(model.cpu().inference(IMAGE), uncached(model, IMAGE))


def test_a_result_made_under_autocast_is_not_served_without_it():
    cache, weight = WeightCache(), torch.randn(8, 8)

    def product() -> torch.Tensor:
        return cache(lambda: weight @ weight, weights=[weight], key="product")

    with torch.no_grad():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert product().dtype == torch.bfloat16
        assert product().dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert product().dtype == torch.bfloat16


# Gradients


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_while_gradients_are_recorded_nothing_is_served_or_stored(model, count, mode):
    getattr(model, mode)()
    model.inference(IMAGE)
    stored = len(model.imgencoder.position_cache)
    with torch.enable_grad():
        model(IMAGE).mean().backward()
    assert count == [(4, 6)] * 2 and len(model.imgencoder.position_cache) == stored
    assert model.imgencoder.position_table.grad.abs().sum() > 0


def test_frozen_positions_may_still_be_trained_around(model):
    model.inference(IMAGE)
    model.imgencoder.position_table.requires_grad_(False)
    with torch.enable_grad():
        model(IMAGE).mean().backward()
    assert model.imgencoder.class_token.grad is not None and model.imgencoder.position_table.grad is None


def test_train_and_eval_forget(model):
    for switch in (model.train, model.eval):
        model.inference(IMAGE)
        switch()
        assert len(model.imgencoder.position_cache) == 0


def test_inference_mode_before_training_does_no_harm(model):
    """A result computed in inference mode cannot be used in training; a cache that serves it there would crash."""
    with torch.inference_mode():
        inside = model(IMAGE)
    outside = model.inference(IMAGE)
    assert torch.equal(inside, outside)
    model(IMAGE).mean().backward()
    assert model.imgencoder.position_table.grad.abs().sum() > 0


def test_weights_made_in_inference_mode_are_not_cached(model):
    """They carry no version, so a change could not be noticed."""
    with torch.inference_mode():
        model.imgencoder.position_table = torch.nn.Parameter(model.imgencoder.position_table.clone())
        before = model(IMAGE)
        model.imgencoder.position_table.add_(0.5)
        assert not torch.equal(model(IMAGE), before)
    assert len(model.imgencoder.position_cache) == 0


# Copies, threads, compilation


COPIES: dict[str, Callable] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_remembers_for_itself(model, make_copy):
    before = model.inference(IMAGE)
    other = make_copy(model)
    assert torch.equal(other.inference(IMAGE), before)
    if make_copy is not copy.copy:  # which shares the weights
        change_in_place(other)
        assert not torch.equal(other.inference(IMAGE), before)
    assert torch.equal(model.inference(IMAGE), before)
    assert not any(module.training for module in other.modules())


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES.keys())
def test_a_copy_keeps_the_switch(small_file, make_copy):
    _, model, _ = make_dpt_from_state_dict(small_file, enable_cache=False)
    assert make_copy(model).imgencoder.position_cache.enabled is False


def test_a_pickle_does_not_carry_what_was_remembered(model):
    size = len(pickle.dumps(model))
    for rows in range(20, 24):
        model.inference(torch.zeros(1, 3, 14 * rows, 280))
    assert len(pickle.dumps(model)) == size


def test_threads_may_share_a_model(model):
    """Two sizes more than are kept, so that threads throw out each other's results all the time."""
    images = [torch.zeros(1, 3, 14 * rows, 28) for rows in range(1, 7)]
    expected = [uncached(model, image) for image in images]
    wrong = []

    def work(start: int) -> None:
        for step in range(60):
            which = (start + step) % len(images)
            try:
                if not torch.equal(model.inference(images[which]), expected[which]):
                    wrong.append(which)
                if step % 10 == 9:
                    model.imgencoder.position_cache.clear()
            except Exception as error:
                wrong.append(repr(error))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_whole_model_compiles_in_one_piece(model):
    """The cache steps aside; "eager" runs what was captured without generating code."""
    expected = {image: model.inference(image) for image in (IMAGE, OTHER_SIZE)}
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        for image, prediction in expected.items():
            assert torch.allclose(compiled(image), prediction, atol=1e-4)
    torch._dynamo.reset()
