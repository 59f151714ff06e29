"""Files that are damaged, hostile or something else: one sentence that names the file, and nothing in them is run."""

import dataclasses
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from safetensors.torch import save as safetensors_bytes

from lib.checkpoints.files import read_checkpoint
from lib.errors import LONGEST_MESSAGE, CheckpointError, PictureError
from lib.make_dpt import make_dpt_from_state_dict, save_dpt
from tests.conftest import paths_in, small_state_dict, with_garbage
from tests.reference import synthetic_checkpoint

NAME = "depth_anything_v2.pth"
QKV = "pretrained.blocks.3.attn.qkv.weight"
WEIGHTS = small_state_dict()


def complaint(path: Path | str, **options) -> str:
    """The one line that loading this file ends with."""
    with pytest.raises(CheckpointError) as caught:
        make_dpt_from_state_dict(path, **options)
    message = str(caught.value)
    assert message.isprintable() and len(message) <= LONGEST_MESSAGE + 4
    return message


def torch_bytes(content: object, **options) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def legacy_bytes(content: object) -> bytes:
    return torch_bytes(content, _use_new_zipfile_serialization=False)


@pytest.fixture
def file(tmp_path) -> Callable[[bytes], Path]:
    """file(CONTENT) -> a file of these bytes."""

    def write(content: bytes, name: str = NAME) -> Path:
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


FORMATS = {"zip": torch_bytes, "legacy": legacy_bytes, "safetensors": safetensors_bytes}


# Not a weight file at all


def zip_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def torchscript_bytes() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, but such files exist
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    return stream.getvalue()


def safetensors_header(header: bytes, claimed_length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if claimed_length is None else claimed_length) + header


NOT_WEIGHTS = {
    "nothing": b"",
    "one byte": b"\x80",
    "zeros": bytes(1000),
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 99173660\n",
    "web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "JSON": b'{"model_type": "depth_anything"}',
    "zip without pickle": zip_of(readme=b"hello"),
    "zip with an empty pickle": zip_of(**{"archive/data.pkl": b"", "archive/version": b"3"}),
    "TorchScript": torchscript_bytes(),
    "plain pickle": pickle.dumps({"a": 1}, protocol=2),
    "newer pickle": pickle.dumps({"a": 1}, protocol=5),
    "numpy": b"\x93NUMPY" + bytes(100),
    "safetensors without end": safetensors_header(b'{"a":'),
    "safetensors of another length": safetensors_header(b"{}" + bytes(8), claimed_length=2**60),
    "safetensors that is a list": safetensors_header(b'{"a":[1]}'),
    "safetensors without tensors": safetensors_header(b"{}"),
    "safetensors that overlaps": safetensors_header(
        b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]},"b":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
    )
    + bytes(36),
    "safetensors of an unknown type": safetensors_header(
        b'{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}'
    )
    + bytes(4),
    "safetensors, deeply nested": safetensors_header(b'{"a":' + b"[" * 100_000),
}


@pytest.mark.parametrize("content", NOT_WEIGHTS.values(), ids=NOT_WEIGHTS.keys())
def test_what_is_not_a_weight_file_is_named(file, content):
    path = file(content)
    assert str(path) in complaint(path)


def test_a_torchscript_program_is_recognised(file):
    assert "TorchScript" in complaint(file(torchscript_bytes()))


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes_are_refused(file, seed):
    complaint(file(np.random.default_rng(seed).bytes(2000)))


@pytest.mark.parametrize(
    "path, shown",
    [
        ("missing.pth", "missing.pth"),
        ("missing folder/", "missing folder"),
        ("a\0b.pth", "a b.pth"),
        ("line\nbreak.pth", "line break.pth"),
        ("\x1b[31mred.pth", " [31mred.pth"),
        ("x" * 5000, "x" * 100),
        ("/dev/null", "/dev/null"),
        ("", "neither model.safetensors nor"),
        (".", "neither model.safetensors nor"),
    ],
    ids=lambda text: repr(text)[:20],
)
def test_what_is_not_there_is_named(tmp_path, monkeypatch, path, shown):
    monkeypatch.chdir(tmp_path)
    assert shown in complaint(path)


def test_a_folder_without_weights_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    message = complaint(tmp_path)
    assert str(tmp_path) in message and "model.safetensors" in message


def test_links_that_lead_nowhere_are_named(tmp_path):
    loop, dangling = tmp_path / "loop.pth", tmp_path / "dangling.pth"
    loop.symlink_to(loop)
    dangling.symlink_to(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").symlink_to(tmp_path / "missing")
    for path in (loop, dangling, tmp_path / "folder"):
        assert str(path) in complaint(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(file):
    path = file(torch_bytes(WEIGHTS))
    path.chmod(0)
    assert "Permission denied" in complaint(path)


# Code


class Mischief:
    """Runs `touch FILE` when it is unpickled."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_never_executed(tmp_path, file, protocol):
    witness = tmp_path / "witness"
    path = file(pickle.dumps({**WEIGHTS, "a": Mischief(witness)}, protocol=protocol))
    complaint(path)
    assert not witness.exists()


@pytest.mark.parametrize("to_bytes", [torch_bytes, legacy_bytes])
@pytest.mark.parametrize("strict_load", [True, False])
def test_a_checkpoint_with_code_in_it_is_refused_unexecuted(tmp_path, file, to_bytes, strict_load):
    witness = tmp_path / "witness"
    path = file(to_bytes({"model": WEIGHTS, "extra": Mischief(witness)}))
    message = complaint(path, strict_load=strict_load)
    assert "Python objects" in message and not witness.exists()


def test_a_whole_pickled_model_is_refused(file):
    assert "Python objects" in complaint(file(torch_bytes(torch.nn.Linear(2, 2))))


def test_the_file_in_question_would_run_code(tmp_path):
    """The trap of the tests above is armed: unpickled the ordinary way, it does run."""
    witness = tmp_path / "witness"
    pickle.loads(pickle.dumps(Mischief(witness)))
    assert witness.exists()


# Cut short, or with flipped bits


@pytest.mark.parametrize("to_bytes", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("part", [1e-6, 1e-4, 0.01, 0.3, 0.7, 0.99, 0.99999])
def test_a_file_cut_short_is_refused(file, to_bytes, part):
    content = to_bytes(WEIGHTS)
    path = file(content[: int(len(content) * part) + 1])
    assert str(path) in complaint(path)


@pytest.mark.parametrize("to_bytes", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("seed", range(12))
def test_flipped_bytes_either_do_no_harm_or_are_refused(file, to_bytes, seed):
    """Half of the damage goes where the structure is (the first and last 20 kB), half anywhere."""
    rng = np.random.default_rng(seed)
    content = np.frombuffer(to_bytes(WEIGHTS), dtype=np.uint8).copy()
    for attempt in range(10):
        damaged = content.copy()
        edge = [rng.integers(20_000), len(content) - 1 - rng.integers(20_000), rng.integers(len(content))][attempt % 3]
        damaged[edge : edge + rng.integers(1, 4)] ^= np.uint8(rng.integers(1, 256))
        path = file(damaged.tobytes())
        try:
            _, model, _ = make_dpt_from_state_dict(path, strict_load=bool(attempt % 2))
        except CheckpointError as error:
            assert str(path) in str(error)
        else:
            assert sum(parameter.numel() for parameter in model.parameters()) > 1_000_000


# Contents that are not weights


def wrapped(content: dict, times: int) -> dict:
    return {"model": wrapped(content, times - 1)} if times else content


WRONG_CONTENT = {
    "a list": list(WEIGHTS.values()),
    "a tensor": WEIGHTS[QKV],
    "a number": 3,
    "text": "weights",
    "nothing": {},
    "an empty wrapper": {"model": {}},
    "wrapped too often": wrapped(WEIGHTS, 9),
    "numbered keys": dict(enumerate(WEIGHTS.values())),
    "a state dict with text in it": {**WEIGHTS, "comment": "best so far"},
    "a state dict with None in it": {**WEIGHTS, QKV: None},
    "another network": {"conv1.weight": torch.zeros(3), "fc.bias": torch.zeros(3)},
    "only the encoder": {key: tensor for key, tensor in WEIGHTS.items() if key.startswith("pretrained.")},
    "only the decoder": {key: tensor for key, tensor in WEIGHTS.items() if key.startswith("depth_head.")},
    "no blocks": {key: tensor for key, tensor in WEIGHTS.items() if ".blocks." not in key},
    "three blocks": {key: tensor for key, tensor in WEIGHTS.items() if ".blocks.3." not in key},
    "ten thousand blocks": {**WEIGHTS, "pretrained.blocks.9999.norm1.weight": torch.zeros(128)},
    "a number that is too long": {**WEIGHTS, f"pretrained.blocks.{'9' * 5000}.norm1.weight": torch.zeros(128)},
    "a key that draws on the terminal": {**WEIGHTS, "a\n\x1b[31m": torch.zeros(1)},
    "a very long key": {**WEIGHTS, "x" * 100_000: torch.zeros(1)},
}


@pytest.mark.parametrize("content", WRONG_CONTENT.values(), ids=WRONG_CONTENT.keys())
def test_wrong_contents_are_refused(file, content):
    path = file(torch_bytes(content))
    assert str(path) in complaint(path)


def test_a_dictionary_that_contains_itself_is_refused(file):
    endless = {}
    endless["model"] = endless
    complaint(file(torch_bytes(endless)))


def nested(tensor: torch.Tensor) -> torch.Tensor:
    return torch.nested.nested_tensor([tensor[0], tensor[1, :3]])


WRONG_TENSORS = {
    "integers": lambda tensor: tensor.int(),
    "truth values": lambda tensor: tensor > 0,
    "complex numbers": lambda tensor: tensor + 0j,
    "sparse": lambda tensor: tensor.to_sparse(),
    "sparse rows": lambda tensor: tensor.to_sparse_csr(),
    "nested": nested,
    "without data": lambda tensor: tensor.to("meta"),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "expanded": lambda tensor: torch.zeros(1).expand(tensor.shape),
    "expanded beyond all memory": lambda tensor: torch.zeros(1).expand(2**20, 2**30),
    "no rows": lambda tensor: tensor[:0],
    "one row more": lambda tensor: torch.cat([tensor, tensor[:1]]),
    "one number": lambda tensor: tensor[0, 0],
    "transposed": lambda tensor: tensor.T,
    "not a number": lambda tensor: tensor.clone().index_fill_(0, torch.tensor([5]), float("nan")),
    "infinite": lambda tensor: tensor.clone().index_fill_(0, torch.tensor([5]), float("inf")),
    "both infinities": lambda tensor: tensor.clone().index_fill_(0, torch.tensor([5]), float("inf")).abs_().mul_(
        torch.tensor([-1.0]).expand(128).cumprod(0)
    ),
}


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about nested, sparse and quantised tensors
@pytest.mark.parametrize("change", WRONG_TENSORS.values(), ids=WRONG_TENSORS.keys())
def test_tensors_that_cannot_be_this_weight_are_named(file, change):
    path = file(torch_bytes({**WEIGHTS, QKV: change(WEIGHTS[QKV])}))
    message = complaint(path)
    assert str(path) in message and QKV in message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_numbers_that_are_not_finite_are_found_in_every_precision(file, dtype):
    weights = {key: tensor.to(dtype) for key, tensor in WEIGHTS.items()}
    weights[QKV][3, 4] = float("-inf")
    assert QKV in complaint(file(safetensors_bytes(weights)))


def test_large_but_finite_weights_are_no_damage(file):
    """Their sum overflows; each of them does not."""
    huge = torch.full_like(WEIGHTS[QKV], 3e38)
    make_dpt_from_state_dict(file(torch_bytes({**WEIGHTS, QKV: huge})))


def test_one_sentence_means_no_warnings_beside_it(file, recwarn):
    for content in (torchscript_bytes(), pickle.dumps({"a": 1}, protocol=5)):
        complaint(file(content))
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    "key, shape",
    [
        ("pretrained.pos_embed", (1, 0, 128)),
        ("pretrained.pos_embed", (1, 1, 128)),
        ("pretrained.pos_embed", (1, 1371, 128)),
        ("pretrained.patch_embed.proj.weight", (128, 3, 0, 0)),
        ("pretrained.patch_embed.proj.weight", (0, 3, 14, 14)),
        ("pretrained.patch_embed.proj.weight", (128, 3, 14, 16)),
        ("pretrained.patch_embed.proj.weight", (100, 3, 14, 14)),
        ("pretrained.blocks.0.mlp.fc1.weight", (0, 128)),
        ("depth_head.projects.0.weight", (0, 128, 1, 1)),
        ("depth_head.scratch.layer1_rn.weight", (0, 16, 3, 3)),
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_shapes_that_sizes_are_read_from_may_be_absurd(file, key, shape):
    complaint(file(torch_bytes({**WEIGHTS, key: torch.zeros(shape)})))


# Configs


GARBAGE_JSON = ["", "{", "[]", "3", "null", '"text"', "\0", '{"a": NaN}', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("content", [*map(str.encode, GARBAGE_JSON), b"\xff\xfe"], ids=lambda text: repr(text)[:20])
def test_a_sidecar_that_is_no_json_object_is_named(file, content):
    path = file(torch_bytes(WEIGHTS))
    sidecar = path.with_suffix(".json")
    sidecar.write_bytes(content)
    assert sidecar.name in complaint(path)


@pytest.fixture(scope="module")
def own_file(tmp_path_factory, small_file) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    config, model, _ = make_dpt_from_state_dict(small_file)
    save_dpt(path, config, model)
    return path


@pytest.fixture
def with_own_config(own_file, tmp_path) -> Callable[[str], Path]:
    """with_own_config(TEXT) -> a file in our own format with another text as its config."""
    tensors = load_file(own_file)

    def write(text: str) -> Path:
        path = tmp_path / "mine.safetensors"
        save_file(tensors, path, metadata={"plain_dpt_config": text})
        return path

    return write


@pytest.mark.parametrize("text", GARBAGE_JSON, ids=lambda text: repr(text)[:20])
def test_an_own_config_that_is_no_json_object_is_named(with_own_config, text):
    path = with_own_config(text)
    assert str(path) in complaint(path)


SMALL_PICTURE = np.zeros((30, 40, 3), dtype=np.uint8)
SMALL_IMAGE = synthetic_checkpoint.model_input("hostile", 28, 42)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_own_config_leads_to_a_traceback(own_file, monkeypatch):
    """Each value of the config, replaced by each kind of garbage: refused in one sentence, or a model that runs."""
    content = read_checkpoint(own_file)
    config = content.own_config
    refused, broken = set(), []
    for path, changed in with_garbage(config, paths_in(config)):
        checkpoint = dataclasses.replace(content, tensors=dict(content.tensors), own_config=changed)
        monkeypatch.setattr("lib.make_dpt.read_checkpoint", lambda _, checkpoint=checkpoint: checkpoint)
        try:
            _, model, imgproc = make_dpt_from_state_dict(own_file)
            model.inference(SMALL_IMAGE)
            imgproc.prepare_image_bgr(SMALL_PICTURE)
        except (CheckpointError, PictureError):
            refused.add(path)
        except Exception as error:
            broken.append((path, changed, repr(error)[:200]))
    assert broken == []
    assert refused >= {path for path in paths_in(config) if path[-1] not in ("model_type", "release")}


@pytest.mark.parametrize("section, name", [("imgencoder", "num_blocks"), ("fusion", "num_stages")])
def test_a_config_that_would_take_forever_to_build_is_refused(own_file, with_own_config, section, name):
    config, _, _ = make_dpt_from_state_dict(own_file)
    config[section][name] = 10**9
    assert name in complaint(with_own_config(json.dumps(config)))
