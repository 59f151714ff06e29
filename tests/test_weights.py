"""Finding weights: what -m means, what is taken without it, and which questions are asked."""

import re
import sys
from dataclasses import replace

import pytest

from lib.demo import download, weights
from lib.demo.weights import find_weights, repository_folder_name, weights_in
from lib.errors import UserError
from lib.model_types import type_from_file_name
from lib.releases import RELEASES
from tests.conftest import REPOSITORY


@pytest.fixture
def folder(tmp_path):
    """An empty model_weights folder, with a name that is not ASCII."""
    folder = tmp_path / "Gewichte für 深度"
    folder.mkdir()
    return folder


@pytest.fixture
def downloads(monkeypatch):
    """Records what would be downloaded instead of doing it."""
    asked = []

    def download_release(release, folder):
        asked.append(release.name)
        return folder / release.file_name

    def download_repository(repository, target):
        asked.append(repository)
        return target

    monkeypatch.setattr(download, "download_release", download_release)
    monkeypatch.setattr(download, "download_repository", download_repository)
    return asked


def put(folder, *names):
    """Create weight files, and Hugging Face folders for names that end with "/"; returns the paths."""
    paths = []
    for name in names:
        path = folder / name.rstrip("/")
        if name.endswith("/"):
            path.mkdir()
            (path / "model.safetensors").write_bytes(b"weights")
        else:
            path.write_bytes(b"weights")
        paths.append(path)
    return paths if len(paths) > 1 else paths[0]


def answer(monkeypatch, *answers):
    """A person at a terminal who types these answers, then presses Ctrl-D; returns the prompts they saw."""
    left, prompts = list(answers), []

    def read_line(prompt=""):
        prompts.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", read_line)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    return prompts


class TestWithoutAName:
    def test_nothing_there_names_the_command(self, folder, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["some/where/run_video.py"])
        with pytest.raises(UserError, match=r"run: python run_video\.py -m depth-anything-v2-small$"):
            find_weights(None, folder=folder)
        monkeypatch.setattr(sys, "argv", ["-c"])
        with pytest.raises(UserError, match=r"run: python run_image\.py -m depth-anything-v2-small$"):
            find_weights(None, folder=folder / "missing")
        assert "depth-anything-v2-small" in RELEASES

    def test_only_file_of_the_user(self, folder):
        mine = put(folder, "mein Modell.pth")
        put(folder, "builtin_tiny.safetensors", ".hidden.pth", "README.md", "mein Modell.json", "x.txt", "x.pth.part")
        (folder / ".incomplete").mkdir()
        put(folder / ".incomplete", "depth_anything_v2_vits.pth@0123", "other.pth", "model.safetensors")
        (folder / "pictures").mkdir()
        (folder / "unpacked").mkdir()
        put(folder / "unpacked", "inner.pth")
        assert find_weights(None, folder=folder) == mine

    @pytest.mark.parametrize("weight_name", ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"])
    def test_only_folder_of_the_user(self, folder, weight_name):
        put(folder, "builtin_tiny.safetensors")
        (folder / "a-model-hf").mkdir()
        (folder / "a-model-hf" / "config.json").write_text("{}")
        assert find_weights(None, folder=folder).name == "builtin_tiny.safetensors"
        (folder / "a-model-hf" / weight_name).write_bytes(b"weights")
        assert find_weights(None, folder=folder) == folder / "a-model-hf"

    def test_builtin_model_when_nothing_else(self, folder):
        put(folder, "builtin_other.safetensors")
        with pytest.raises(UserError, match="no weights"):
            find_weights(None, folder=folder)
        builtin = put(folder, "builtin_tiny.safetensors")
        assert find_weights(None, folder=folder) == builtin

    def test_several_without_a_terminal(self, folder):
        put(folder, "b.pth", "A.safetensors", "builtin_tiny.safetensors")
        with pytest.raises(UserError, match="several weights: A.safetensors, b.pth; say which with -m"):
            find_weights(None, folder=folder)  # pytest's stdin is no terminal

    def test_menu(self, folder, monkeypatch, capsys):
        put(folder, "b.pth", "a.safetensors", "c-hf/", "builtin_tiny.safetensors")
        prompts = answer(monkeypatch, "x", "0", "4", "", "2")
        assert find_weights(None, folder=folder) == folder / "b.pth"
        shown = capsys.readouterr().out
        assert re.findall(r"(?m)^  (\d)  (\S+)  \(0\.0 MB\)$", shown) == [
            ("1", "a.safetensors"),
            ("2", "b.pth"),
            ("3", "c-hf"),
        ]
        assert len(prompts) == 5 and "1 to 3" in prompts[0]

    @pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
    def test_menu_left(self, folder, monkeypatch, end):
        put(folder, "a.pth", "b.pth")
        answer(monkeypatch)

        def leave(prompt):
            raise end

        monkeypatch.setattr("builtins.input", leave)
        with pytest.raises(UserError, match="no weights were chosen"):
            find_weights(None, folder=folder)

    def test_menu_only_where_both_ends_are_terminals(self, folder, monkeypatch):
        put(folder, "a.pth", "b.pth")
        answer(monkeypatch, "1")
        monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
        with pytest.raises(UserError, match="say which"):
            find_weights(None, folder=folder)
        assert find_weights(None, folder=folder, interactive=True) == folder / "a.pth"
        monkeypatch.setattr(sys, "stdin", None)  # as under pythonw
        with pytest.raises(UserError, match="say which"):
            find_weights(None, folder=folder)


class TestPaths:
    def test_file_and_folder_anywhere(self, folder, tmp_path, monkeypatch):
        put(folder, "model.pth")
        elsewhere = tmp_path / "é"
        elsewhere.mkdir()
        file, hf_folder = put(elsewhere, "model.pth", "small-hf/")
        assert find_weights(str(file), folder=folder) == file
        assert find_weights(str(hf_folder), folder=folder) == hf_folder
        assert find_weights(str(hf_folder) + "/", folder=folder) == hf_folder
        monkeypatch.chdir(elsewhere)
        assert find_weights("model.pth", folder=folder).resolve() == file  # a path goes before a name in the folder
        monkeypatch.setenv("HOME", str(elsewhere))
        assert find_weights("~/model.pth", folder=folder) == file

    def test_path_before_repository_id(self, folder, tmp_path, monkeypatch, downloads):
        (tmp_path / "owner").mkdir()
        put(tmp_path / "owner", "name/")
        monkeypatch.chdir(tmp_path)
        assert find_weights("owner/name", folder=folder).name == "name" and not downloads

    @pytest.mark.parametrize("path", ["missing/model.pth", "./missing", "missing/a/b", "/missing", "owner/x.pth"])
    def test_missing_path(self, folder, path, downloads):
        with pytest.raises(UserError, match="there is no such file"):
            find_weights(path, folder=folder)
        assert not downloads

    def test_mistyped_path_is_no_repository(self, folder, tmp_path, monkeypatch, downloads):
        (tmp_path / "files").mkdir()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UserError, match="there is no such file"):
            find_weights("files/depth_anything_v2_vits", folder=folder)
        assert not downloads

    def test_folder_without_weights(self, folder, tmp_path):
        with pytest.raises(UserError, match="neither model.safetensors nor pytorch_model.bin"):
            find_weights(str(tmp_path), folder=folder)

    @pytest.mark.parametrize("argument", ["", "  ", "nul\0byte", "x" * 5000, "ü", "a//b", "..", "-"])
    def test_strange_arguments(self, folder, argument, downloads):
        with pytest.raises(UserError):
            find_weights(argument, folder=folder)
        assert not downloads


class TestNames:
    def test_part_of_a_name(self, folder, downloads):
        small, large, hf_folder = put(folder, "depth_anything_v2_vits.pth", "Depth_V2_VITL.pth", "My-Model-hf/")
        assert find_weights("vits", folder=folder) == small
        assert find_weights("V2-vitL", folder=folder) == large
        assert find_weights("my_model", folder=folder) == hf_folder
        assert not downloads

    def test_accents_however_they_are_stored(self, folder):
        decomposed = put(folder, "mode\u0300le.pth")  # as macOS stores "modèle.pth"
        assert find_weights("mod\u00e8le", folder=folder) == decomposed

    def test_ambiguous_part(self, folder, monkeypatch):
        put(folder, "a_vits.pth", "b_vits.pth", "c_vitl.pth")
        with pytest.raises(UserError, match="'VITS' is part of several names: a_vits.pth, b_vits.pth; say which"):
            find_weights("VITS", folder=folder)
        answer(monkeypatch, "2")
        assert find_weights("VITS", folder=folder) == folder / "b_vits.pth"

    def test_whole_name_goes_before_parts(self, folder):
        put(folder, "model.pth", "model_2.pth", "my_model.pth")
        assert find_weights("model", folder=folder).name == "model.pth"
        assert find_weights("Model.PTH", folder=folder).name == "model.pth"
        put(folder, "model.safetensors")
        assert find_weights("model.pth", folder=folder).name == "model.pth"
        with pytest.raises(UserError, match="name of several: model.pth, model.safetensors"):
            find_weights("model", folder=folder)
        hf_folder = put(folder, "model/")
        assert find_weights("model", folder=folder) == hf_folder

    def test_builtin_by_name(self, folder):
        put(folder, "mine.pth")
        builtin = put(folder, "builtin_tiny.safetensors")
        assert find_weights("builtin", folder=folder) == builtin

    def test_published_name_on_disk(self, folder, downloads):
        file = put(folder, "depth_anything_v2_vits.pth")
        for name in ("depth-anything-v2-small", "Depth_Anything_V2_Small", "depth_anything_v2_vits.pth"):
            assert find_weights(name, folder=folder) == file
        assert find_weights("depth-anything/Depth-Anything-V2-Small", folder=folder) == file
        file.rename(folder / "depth_anything_v2_vits.safetensors")
        assert find_weights("depth-anything-v2-small", folder=folder).suffix == ".safetensors"
        assert not downloads

    @pytest.mark.parametrize("name", ["depth-anything-v2-small", "DEPTH_ANYTHING_V2_VITS.PTH"])
    def test_published_name_downloads(self, folder, name, downloads):
        put(folder, "my_depth_anything_v2_small_finetuned.pth", "depth-anything--Depth-Anything-V2-Small-hf/")
        assert find_weights(name, folder=folder) == folder / "depth_anything_v2_vits.pth"
        assert downloads == ["depth-anything-v2-small"]

    def test_repository(self, folder, downloads):
        path = find_weights("depth-anything/Depth-Anything-V2-Small-hf", folder=folder)
        assert path.name == "depth-anything--Depth-Anything-V2-Small-hf"
        assert type_from_file_name(path.name) == "depth-anything-v2"
        assert downloads == ["depth-anything/Depth-Anything-V2-Small-hf"]
        put(folder, path.name + "/")
        assert find_weights("depth-anything/depth-anything-v2-small-hf", folder=folder) == path
        assert len(downloads) == 1

    def test_repositories_of_the_table(self, folder, downloads):
        find_weights("depth-anything/depth-anything-v2-base", folder=folder)
        assert downloads == ["depth-anything-v2-base"]
        with pytest.raises(UserError, match="several models: pass -m depth-anything-v1-small or -m depth-any"):
            find_weights("LiheYoung/Depth-Anything", folder=folder)

    def test_folder_name_keeps_the_type(self):
        for repository, expected in {
            "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf": "depth-anything-v2-metric-hypersim",
            "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf": "depth-anything-v2-metric-vkitti",
            "LiheYoung/depth-anything-small-hf": "depth-anything-v1",
            "somebody/my-model": None,
        }.items():
            assert type_from_file_name(repository_folder_name(repository)) == expected

    def test_unknown_name(self, folder):
        put(folder, "my_model.pth")
        with pytest.raises(UserError) as caught:
            find_weights("depth-anythin-v2-smal", folder=folder)
        message = str(caught.value)
        assert "did you mean depth-anything-v2-small" in message and "\n" not in message
        assert all(name in message for name in RELEASES)
        with pytest.raises(UserError, match=r"did you mean my_model\.pth"):
            find_weights("my_modle", folder=folder)
        with pytest.raises(UserError, match="no published name and no Hugging Face repository"):
            find_weights("zzz", folder=folder)


def test_weights_in_a_folder_are_sorted(folder):
    put(folder, "b.pt", "A.pth", "C.ckpt", "d.bin", "e/", "f.SAFETENSORS", "g.json", "h.npz")
    assert [path.name for path in weights_in(folder)] == ["A.pth", "b.pt", "C.ckpt", "d.bin", "e", "f.SAFETENSORS"]
    assert weights_in(folder / "A.pth") == weights_in(folder / "missing") == []


def test_default_folder_is_the_checkouts():
    assert weights.MODEL_WEIGHTS == REPOSITORY / "model_weights"


def test_readme_agrees_with_the_table():
    text = (REPOSITORY / "model_weights" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    expected = [readme_row(release) for release in RELEASES.values()]
    assert rows == expected, "the table should be:\n" + "\n".join(expected)


def readme_row(release):
    """The line that model_weights/README.md should have for this release."""
    if release.url:
        source = f"[{'/'.join(release.url.split('/')[3:5])}]({release.url})"
    elif release.repository:
        space = "spaces/" if release.repository_kind == "space" else ""
        source = f"[{release.repository}](https://huggingface.co/{space}{release.repository})"
    else:
        source = "not public"
    parameters, size = f"{release.parameters:g} M", f"{release.megabytes} MB"
    return f"| `{release.name}` | {parameters} | {size} | {release.licence} | {source} |"


def test_readme_row():
    row = RELEASES["depth-anything-v1-small"]
    assert readme_row(row).endswith("(https://huggingface.co/spaces/LiheYoung/Depth-Anything) |")
    elsewhere = replace(row, repository="", url="https://github.com/someone/something/releases/x.pt")
    assert readme_row(elsewhere).endswith("[someone/something](https://github.com/someone/something/releases/x.pt) |")
    assert readme_row(replace(row, repository="")).endswith("| not public |")
