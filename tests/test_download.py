"""Fetching weights from a hub on this machine: what arrives, and what is left and said when something goes wrong."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.demo import download
from lib.demo.weights import find_weights
from lib.errors import UserError
from lib.releases import RELEASES
from tests.conftest import REPOSITORY, make_picture
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


def fetch_at_last(folder: Path) -> Path:
    """Fetch the small model, in several attempts: older versions of huggingface_hub do not try again themselves."""
    for _ in range(4):
        try:
            return find_weights(SMALL.name, folder=folder)
        except UserError:
            assert not (folder / SMALL.file_name).exists()
    raise AssertionError("no attempt succeeded")


class TestRelease:
    def test_from_name_to_depth_map(self, hub, folder, tiny_v2, capsys, monkeypatch):
        from huggingface_hub.utils import enable_progress_bars

        from lib.make_dpt import make_dpt_from_state_dict

        enable_progress_bars()  # a benchmark in the same process turns transformers' off, and with them all
        monkeypatch.setenv("TQDM_POSITION", "-1")  # shows huggingface_hub's progress bar where stderr is no terminal
        hub.repositories[SMALL.repository][SMALL.path] = tiny_v2.read_bytes()
        path = find_weights("depth-anything-v2-small", folder=folder)
        assert path == folder / "depth_anything_v2_vits.pth"
        assert names_in(folder) == ["depth_anything_v2_vits.pth"]
        shown = capsys.readouterr()
        size = f"{tiny_v2.stat().st_size / 1e6:.0f} MB"
        assert f"Downloading depth-anything-v2-small, {size}; licence: Apache-2.0\n" in shown.out
        assert f"from {hub.url}/{SMALL.repository}\n" in shown.out and f"to {path}\n" in shown.out
        assert "depth_anything_v2_vits.pth" in shown.err and "100%" in shown.err  # the progress bar

        asked = len(hub.requests)
        assert find_weights("depth-anything-v2-small", folder=folder) == path
        assert find_weights(None, folder=folder) == path
        assert len(hub.requests) == asked

        config, dpt_model, dpt_imgproc = make_dpt_from_state_dict(path)
        assert config["model_type"] == "depth-anything-v2"
        picture = dpt_imgproc.prepare_image_bgr(make_picture(), max_side_length=70)
        assert dpt_model.inference(picture).isfinite().all()

    def test_space_and_licence_first(self, hub, folder, capsys):
        v1, base = RELEASES["depth-anything-v1-small"], RELEASES["depth-anything-v2-base"]
        hub.repositories[f"spaces/{v1.repository}"] = {v1.path: CONTENT}
        hub.repositories[base.repository] = {base.path: CONTENT}
        assert find_weights(v1.name, folder=folder).read_bytes() == CONTENT
        assert "Apache-2.0\n" in capsys.readouterr().out
        hub.cuts = [0] * 50
        before = names_in(folder)
        failure(base.name, folder)  # the licence stands there before the first byte
        assert names_in(folder) == before
        assert "licence: CC-BY-NC-4.0 (non-commercial use only)\n" in capsys.readouterr().out

    def test_one_version_and_log_in_stays_with_the_hub(self, hub, folder):
        find_weights(SMALL.name, folder=folder)
        assert hub.requests[1][:2] == ("GET", f"/{SMALL.repository}/resolve/{COMMIT}/{SMALL.path}")
        for method, path, _, authorization in hub.requests:
            assert authorization == (None if path.startswith("/cdn/") else "Bearer hf_secret"), (method, path)


class TestInterrupted:
    def test_short_break_is_bridged(self, hub, folder):
        hub.cuts = [5 * CHUNK + 7, 2 * CHUNK]
        assert fetch_at_last(folder).read_bytes() == CONTENT
        assert hub.transfers() == [None, f"bytes={5 * CHUNK}-", f"bytes={7 * CHUNK}-"]

    def test_long_break_is_resumed(self, hub, folder):
        hub.cuts = [5 * CHUNK] + [0] * 20
        message = failure(SMALL.name, folder)
        assert "the download broke off" in message and "the same command goes on with it" in message
        assert f"{hub.url}/{SMALL.repository}/resolve/main/{SMALL.path}" in message and str(folder) in message
        hidden = [".incomplete", ".incomplete/depth_anything_v2_vits.pth"]
        assert [name.split("@")[0] for name in names_in(folder)] == hidden
        with pytest.raises(UserError, match="no weights"):  # what is not complete is not found
            find_weights(None, folder=folder)

        hub.cuts, hub.requests = [], []
        assert find_weights(SMALL.name, folder=folder).read_bytes() == CONTENT
        assert hub.transfers() == [f"bytes={5 * CHUNK}-"]
        assert names_in(folder) == ["depth_anything_v2_vits.pth"]

    def test_published_file_changed_meanwhile(self, hub, folder):
        hub.cuts = [5 * CHUNK] + [0] * 20
        failure(SMALL.name, folder)
        changed = np.random.default_rng(1).bytes(200_000)
        hub.repositories[SMALL.repository][SMALL.path] = changed
        hub.cuts, hub.requests = [], []
        assert find_weights(SMALL.name, folder=folder).read_bytes() == changed
        assert hub.transfers() == [None]
        assert names_in(folder) == ["depth_anything_v2_vits.pth"]

    def test_server_without_ranges(self, hub, folder):
        hub.cuts = [5 * CHUNK]
        hub.ignores_range = True
        assert fetch_at_last(folder).read_bytes() == CONTENT

    @pytest.mark.parametrize("stop, code", [(signal.SIGINT, 1), (signal.SIGKILL, -signal.SIGKILL)])
    def test_process_stopped(self, hub, folder, stop, code):
        hub.stall_after = 150_000
        process = start_process(folder)
        assert hub.stalled.wait(60), process.communicate()
        while sum(path.stat().st_size for path in folder.rglob("*@*")) < 4 * CHUNK:
            time.sleep(0.01)
        process.send_signal(stop)
        out, err = process.communicate(timeout=30)
        assert process.returncode == code, err
        if stop == signal.SIGINT:
            assert "SENTENCE depth-anything-v2-small: the download was stopped; the same command goes on with it" in out
            assert "Traceback" not in err
        assert not (folder / SMALL.file_name).exists()

        hub.stall_after, hub.requests = None, []
        hub.resume.set()
        assert find_weights(SMALL.name, folder=folder).read_bytes() == CONTENT
        (wanted,) = hub.transfers()
        assert wanted is not None and int(wanted.removeprefix("bytes=").rstrip("-")) >= 4 * CHUNK
        assert names_in(folder) == ["depth_anything_v2_vits.pth"]

    def test_two_processes_at_once(self, hub, folder):
        hub.stall_after = 150_000
        first = threading.Thread(target=fetch_at_last, args=(folder,))
        first.start()
        assert hub.stalled.wait(30)
        assert "another process is downloading it" in failure(SMALL.name, folder)
        hub.stall_after = None
        hub.resume.set()
        first.join(30)
        assert find_weights(SMALL.name, folder=folder).read_bytes() == CONTENT


class TestRefused:
    def test_no_network(self, hub, folder, monkeypatch):
        def no_address(*args, **kwargs):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
        monkeypatch.setattr(socket, "getaddrinfo", no_address)
        message = failure(SMALL.name, folder)
        assert message.startswith("depth-anything-v2-small: cannot reach huggingface.co (")
        address = "https://huggingface.co/depth-anything/Depth-Anything-V2-Small/resolve/main/"
        assert message.endswith(f"; download {address}depth_anything_v2_vits.pth by hand and put it into {folder}")
        message = failure(HF_REPOSITORY, folder)
        assert message.startswith(f"{HF_REPOSITORY}: cannot reach huggingface.co (")
        assert f"https://huggingface.co/{HF_REPOSITORY}" in message
        assert message.endswith(str(folder / "somebody--Depth-Anything-V2-Tiny-hf"))
        assert names_in(folder) == []

    def test_nobody_listens(self, hub, folder):
        hub.close()
        assert "cannot reach 127.0.0.1" in failure(SMALL.name, folder)
        assert names_in(folder) == []

    def test_server_that_never_answers(self, folder, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            monkeypatch.setattr(download, "TIMEOUT", 0.2)
            start = time.monotonic()
            assert "cannot reach 127.0.0.1" in failure(SMALL.name, folder)
            assert "cannot reach 127.0.0.1" in failure(HF_REPOSITORY, folder)
            assert time.monotonic() - start < 8  # huggingface_hub's own limit is 10 seconds, for each
        assert names_in(folder) == []

    def test_offline_by_wish(self, hub, folder):
        process = start_process(folder, HF_HUB_OFFLINE="1")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1 and "Traceback" not in err
        assert "SENTENCE depth-anything-v2-small is not on disk, and HF_HUB_OFFLINE forbids downloads" in out
        assert f"{hub.url}/{SMALL.repository}/resolve/main/{SMALL.path}" in out
        assert names_in(folder) == [] and not hub.requests

    @pytest.mark.parametrize(
        "status, code, expected",
        [
            (404, "EntryNotFound", "has nothing public at"),
            (401, "RepoNotFound", "has nothing public at"),
            (401, "", "has nothing public at"),
            (401, "GatedRepo", "its owner wants terms accepted first"),
            (403, "GatedRepo", "its owner wants terms accepted first"),
            (503, "", "refused (HTTP 503); try again later"),
        ],
    )
    @pytest.mark.parametrize("name", [SMALL.name, HF_REPOSITORY])
    def test_status(self, hub, folder, status, code, expected, name):
        hub.refusals = {"/": (status, code)}
        message = failure(name, folder)
        assert message.startswith(f"{name}: ") and expected in message
        if status != 503:
            repository = SMALL.repository if name == SMALL.name else name
            assert f"{hub.url}/{repository}" in message and "hf auth login" in message
        assert names_in(folder) == []

    def test_login_page_in_between(self, hub, folder):
        hub.is_login_page = True
        assert "log-in page or proxy in between" in failure(SMALL.name, folder)
        failure(HF_REPOSITORY, folder)
        assert names_in(folder) == []

    def test_damaged_on_the_way(self, hub, folder):
        hub.damaged = True
        assert "arrived damaged and was deleted" in failure(SMALL.name, folder)
        assert names_in(folder) == []
        hub.damaged = False
        assert find_weights(SMALL.name, folder=folder).read_bytes() == CONTENT

    def test_huggingface_hub_missing(self, hub, folder, monkeypatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        for name in (SMALL.name, HF_REPOSITORY):
            assert "pip install huggingface_hub" in failure(name, folder)
        assert names_in(folder) == []

    def test_nothing_public(self, folder):
        with pytest.raises(UserError, match="its weights are not public"):
            download.download_release(replace(SMALL, repository=""), folder)


class TestDisk:
    def test_too_little_space(self, hub, folder, monkeypatch):
        monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("usage", (), {"free": 123_000}))
        message = failure(SMALL.name, folder)
        assert "depth-anything-v2-small needs 0.3 MB" in message and "0.1 MB are free" in message
        assert names_in(folder) == [] and not hub.transfers()

    def test_space_for_the_rest_is_enough(self, hub, folder, monkeypatch):
        hub.cuts = [12 * CHUNK] + [0] * 20
        failure(SMALL.name, folder)
        hub.cuts = []
        monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("usage", (), {"free": 123_000}))
        assert find_weights(SMALL.name, folder=folder).read_bytes() == CONTENT

    def test_disk_full_on_the_way(self, hub, folder, monkeypatch):
        with small_disk(folder):
            monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("usage", (), {"free": 1 << 40}))
            assert "the disk is full" in failure(SMALL.name, folder)
            assert names_in(folder) == []
            put_repository(hub, weights=bytes(300_000))
            assert "the disk is full" in failure(HF_REPOSITORY, folder)
            assert names_in(folder) == []

    def test_file_larger_than_the_disk_takes(self, hub, folder):
        resource = pytest.importorskip("resource")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as FAT32 does, at 4 GB
            message = failure(SMALL.name, folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert "takes no file of this size; nothing was kept" in message
        assert names_in(folder) == []

    def test_folder_that_cannot_be_written(self, hub, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        assert "cannot write" in failure(SMALL.name, tmp_path / "file")


def start_process(folder: Path, **environment: str) -> subprocess.Popen:
    """Another Python that fetches the small V2 model, and prints the sentence if it cannot."""
    code = (
        "import sys, huggingface_hub.constants as constants\n"
        "from lib.demo.weights import find_weights\n"
        "from lib.errors import UserError\n"
        f"constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}\n"
        "try:\n"
        "    find_weights('depth-anything-v2-small', folder=sys.argv[1])\n"
        "except UserError as error:\n"
        "    print('SENTENCE', error)\n"
        "    sys.exit(1)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def small_disk(folder: Path):
    """A file system of 128 kB at this folder; needs root, skips without."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)
