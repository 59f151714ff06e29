"""Fetching what is no single published file of a hub: whole repositories, and files at plain addresses."""

import errno
import json
import os
import socket
import sys
from dataclasses import replace

import pytest

from lib.demo import download
from lib.demo.weights import find_weights
from lib.releases import RELEASES
from tests.hub_server import (
    CHUNK,
    COMMIT,
    CONTENT,
    HF_REPOSITORY,
    SMALL,
    failure,
    names_in,
    put_repository,
)


class TestRepository:
    @pytest.mark.parametrize("layout", ["safetensors", "shards"])
    def test_transformers_model(self, hub, folder, tmp_path, layout, capsys):
        transformers = pytest.importorskip("transformers")
        torch = pytest.importorskip("torch")
        from lib.make_dpt import make_dpt_from_state_dict

        backbone = transformers.Dinov2Config(
            hidden_size=64, num_hidden_layers=4, num_attention_heads=1, image_size=56, patch_size=14,
            out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True,
        )  # fmt: skip
        config = transformers.DepthAnythingConfig(
            backbone_config=backbone, patch_size=14, reassemble_hidden_size=64, neck_hidden_sizes=[16, 16, 32, 32],
            fusion_hidden_size=16, head_hidden_size=8,
        )  # fmt: skip
        torch.manual_seed(0)
        model = transformers.DepthAnythingForDepthEstimation(config).eval()
        saved = tmp_path / "saved"
        model.save_pretrained(saved, max_shard_size="100KB" if layout == "shards" else "5GB")
        (saved / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 56, "width": 56}}))
        files = {path.name: path.read_bytes() for path in saved.iterdir()}
        assert ("model.safetensors.index.json" in files) == (layout == "shards")
        others = {"README.md": b"card", "onnx/model.onnx": b"other", "model.ckpt": b"other"}
        hub.repositories[HF_REPOSITORY] = files | others
        hub.model_info[HF_REPOSITORY] = {"tags": ["license:cc-by-nc-4.0"], "pipeline_tag": "depth-estimation"}

        path = find_weights(HF_REPOSITORY, folder=folder)
        assert path == folder / "somebody--Depth-Anything-V2-Tiny-hf"
        assert {name: (path / name).read_bytes() for name in names_in(path)} == files
        assert [entry.name for entry in folder.iterdir()] == [path.name]
        assert "licence: cc-by-nc-4.0 by its model card (non-commercial use only)" in capsys.readouterr().out
        asked = len(hub.requests)
        assert find_weights(HF_REPOSITORY, folder=folder) == find_weights(None, folder=folder) == path
        assert len(hub.requests) == asked

        _, dpt_model, dpt_imgproc = make_dpt_from_state_dict(path)
        assert dpt_imgproc.rule.side == 56
        pictures = torch.randn(1, 3, 56, 56)
        with torch.no_grad():
            expected = model(pixel_values=pictures).predicted_depth
        assert (dpt_model.inference(pictures) - expected).abs().max() <= 1e-4 * expected.std()

    def test_older_weights_and_no_licence(self, hub, folder, capsys):
        files = {"config.json": b"{}", "pytorch_model.bin": b"x" * 1000}
        hub.repositories["somebody/model-nc"] = files
        path = find_weights("somebody/model-nc", folder=folder)
        assert names_in(path) == list(files)
        assert f"licence: not stated: see {hub.url}/somebody/model-nc\n" in capsys.readouterr().out

    def test_interrupted_between_and_within_files(self, hub, folder):
        put_repository(hub, weights=CONTENT)
        hub.cuts = [5 * CHUNK] + [0] * 20
        assert "the same command goes on with it" in failure(HF_REPOSITORY, folder)
        assert [path.name for path in folder.iterdir()] == [".incomplete"]
        hub.cuts, hub.requests = [], []
        path = find_weights(HF_REPOSITORY, folder=folder)
        assert (path / "model.safetensors").read_bytes() == CONTENT and names_in(path)[0] == "config.json"
        assert hub.transfers() == [f"bytes={5 * CHUNK}-"]
        assert ("GET", f"/{HF_REPOSITORY}/resolve/{COMMIT}/config.json") not in [row[:2] for row in hub.requests]
        assert [path.name for path in folder.iterdir()] == [path.name]

    @pytest.mark.parametrize(
        "files", [{}, {"config.json": b"{}"}, {"model.safetensors": b"x"}, {"config.json": b"{}", "vits.pth": b"x"}]
    )
    def test_other_layouts(self, hub, folder, files):
        hub.repositories[HF_REPOSITORY] = files
        message = failure(HF_REPOSITORY, folder)
        assert message.startswith(f"{HF_REPOSITORY}: this repository does not hold config.json with model.safetensors")
        assert names_in(folder) == []

    def test_other_kinds_of_models(self, hub, folder):
        put_repository(hub, weights=b"x")
        hub.model_info[HF_REPOSITORY] = {"pipeline_tag": "text-generation"}
        assert "its page says text-generation; expected a model for depth-estimation" in failure(HF_REPOSITORY, folder)
        assert names_in(folder) == []

    def test_folder_in_the_way(self, hub, folder):
        put_repository(hub, weights=b"x")
        target = folder / "somebody--Depth-Anything-V2-Tiny-hf"
        target.mkdir(parents=True)
        (target / "mine.txt").write_text("mine")
        assert "is in the way" in failure(HF_REPOSITORY, folder)
        assert names_in(target) == ["mine.txt"] and not hub.requests


class TestPlainAddress:
    """What lies at a URL instead of in a repository, as MiDaS' files do."""

    @pytest.fixture
    def release(self, hub, monkeypatch):
        hub.plain_files["/releases/v3/dpt_test.pt"] = CONTENT
        release = replace(
            SMALL, name="midas-test", file_name="dpt_test.pt", repository="", url=f"{hub.url}/releases/v3/dpt_test.pt"
        )
        monkeypatch.setitem(RELEASES, release.name, release)
        return release

    def test_download(self, hub, folder, release, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not needed
        path = find_weights("midas-test", folder=folder)
        assert path == folder / "dpt_test.pt" and path.read_bytes() == CONTENT
        assert names_in(folder) == ["dpt_test.pt"]
        shown = capsys.readouterr()
        assert "Downloading midas-test, 0.3 MB; licence: Apache-2.0\n" in shown.out and release.url in shown.out
        assert "100%" in shown.err
        assert socket.getdefaulttimeout() is None

    def test_cut_short(self, hub, folder, release):
        hub.cuts = [len(CONTENT), 100_000]  # the look-up is answered whole, the transfer is cut
        message = failure("midas-test", folder)
        assert "100000 of 300000 bytes arrived" in message or "broke off" in message
        assert names_in(folder) == []
        assert find_weights("midas-test", folder=folder).read_bytes() == CONTENT

    def test_leftovers_of_a_killed_process(self, hub, folder, release):
        (folder / ".incomplete").mkdir(parents=True)
        (folder / ".incomplete" / "dpt_test.pt@new.0123.partial").write_bytes(CONTENT[:1000])
        assert find_weights("midas-test", folder=folder).read_bytes() == CONTENT
        assert names_in(folder) == ["dpt_test.pt"]

    def test_stalled(self, hub, folder, release, monkeypatch):
        monkeypatch.setattr(download, "TIMEOUT", 0.3)
        hub.stall_after = 1000
        message = failure("midas-test", folder)
        assert "broke off" in message and message.endswith(f"download {release.url} by hand and put it into {folder}")
        assert names_in(folder) == []

    def test_missing_and_unreachable(self, hub, folder, release):
        hub.plain_files.clear()
        assert failure("midas-test", folder).endswith(f"has nothing public at {release.url} (HTTP 404)")
        hub.close()
        assert f"cannot reach {hub.url.removeprefix('http://')} (" in failure("midas-test", folder)
        assert names_in(folder) == []

    def test_disk_full(self, hub, folder, release, monkeypatch):
        def full(*args, **kwargs):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("torch.hub.download_url_to_file", full)
        assert "the disk is full" in failure("midas-test", folder)
        assert names_in(folder) == []
