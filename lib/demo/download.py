"""Fetching weights from Hugging Face repositories and from plain addresses (GitHub releases), whole or not at all.

A file gets its final name once it is complete and checked. Until then its bytes lie in the hidden folder .incomplete,
where the next attempt finds them and asks the server for the rest alone. huggingface_hub's `hf_hub_download` no longer
goes on with what an earlier process left (it once did), so its parts are used: look-up, log-in and transfer.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ..errors import UserError
from ..releases import Release
from .weights import megabytes

INCOMPLETE = ".incomplete"
TIMEOUT = 10.0  # seconds that a server may take to say what it has
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # EFBIG: FAT32 ends at 4 GB
WHOLE_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first of these that a repository has is taken
SHARDS = re.compile(r"model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json")


@dataclass(frozen=True)
class RemoteFile:
    """One file in a repository, at one commit. size: in bytes. etag: a SHA-256 for large files."""

    url: str
    size: int
    etag: str


@dataclass(frozen=True)
class Job:
    """A download as messages speak of it. page: where it comes from. by_hand: what a person can do instead.

    resumes: whether the next attempt goes on where this one stopped.
    """

    name: str
    page: str
    by_hand: str
    resumes: bool = True

    @property
    def host(self) -> str:
        return urlsplit(self.page).netloc

    @contextmanager
    def explained(self, *, begun: bool = False) -> Iterator[None]:
        """Whatever goes wrong inside becomes a UserError. begun: the server was found, now bytes are moving."""
        try:
            yield
        except UserError:
            raise
        except KeyboardInterrupt:
            again = "goes on with it" if self.resumes else "starts it again"
            raise UserError(f"{self.name}: the download was stopped; the same command {again}") from None
        except Exception as error:  # which library the hub's network errors come from changes with its major version
            raise UserError(self._explain(error, begun)) from error

    def _explain(self, error: Exception, begun: bool) -> str:
        response = getattr(error, "response", None)  # of huggingface_hub's errors; urllib's have a code themselves
        status = getattr(response, "status_code", None) or getattr(error, "code", None)
        if status in (401, 403) and response is not None and response.headers.get("X-Error-Code") == "GatedRepo":
            return f"{self.name}: its owner wants terms accepted first: do so on {self.page}, then run `hf auth login`"
        if status in (401, 403, 404):
            hint = "; check the name, or, if it is private, run `hf auth login` first" if response is not None else ""
            return f"{self.name}: {self.host} has nothing public at {self.page} (HTTP {status}){hint}"
        if status is not None:
            return f"{self.name}: {self.host} refused (HTTP {status}); try again later, or {self.by_hand}"
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            return f"{self.name}: the disk is full, or takes no file of this size; nothing was kept"
        if isinstance(error, OSError) and error.filename is not None:
            return f"{self.name}: cannot write {error.filename} ({error.strerror})"
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 150, placeholder=" ...").rstrip(" :.")
        if begun:
            again = "the same command goes on with it" if self.resumes else "run the same command again"
            return f"{self.name}: the download broke off ({reason}); {again}, or {self.by_hand}"
        return f"{self.name}: cannot reach {self.host} ({reason}); {self.by_hand}"


def download_release(release: Release, folder: Path) -> Path:
    """Fetch a published file into `folder`, under its published name; returns its path.

    Prints name, size, licence, from where and where to, then a progress bar. Raises UserError with one sentence; then
    nothing lies under the final name.
    """
    target = folder / release.file_name
    if release.url:
        return _download_from_address(release, target)
    if not release.repository:
        raise UserError(f"{release.name}: its weights are not public; if you have them, put them into {target}")
    is_space = release.repository_kind == "space"
    page = f"{_endpoint()}/{'spaces/' if is_space else ''}{release.repository}"
    url = f"{page}/resolve/main/{release.path}"
    job = Job(name=release.name, page=page, by_hand=f"download {url} by hand and put it into {folder}")
    _require_hub(job)
    with job.explained():
        file = _look_up(release.repository, release.path, kind=release.repository_kind)
    _announce(job, file.size, target, licence=release.licence, is_non_commercial=release.is_non_commercial)
    with job.explained(begun=True), _workspace(job, target, file.size) as workspace:
        _fetch(file, target, workspace)
    return target


def download_repository(repository: str, target: Path) -> Path:
    """Fetch the weights and configs of a Hugging Face model repository into the new folder `target`; returns that.

    Of its files config.json, preprocessor_config.json and one set of weights are taken. Prints and raises as
    `download_release` does.
    """
    if target.exists():
        raise UserError(f"{target} is in the way: it holds no weights; move or delete it, then run this again")
    page = f"{_endpoint()}/{repository}"
    what = "config.json, preprocessor_config.json and the weights"
    job = Job(name=repository, page=page, by_hand=f"download {what} of {page} by hand and put them into {target}")
    _require_hub(job)
    from huggingface_hub import HfApi

    with job.explained():
        info = HfApi(endpoint=_endpoint()).model_info(repository, timeout=TIMEOUT)
    if info.pipeline_tag not in (None, "depth-estimation"):
        raise UserError(f"{repository}: its page says {info.pipeline_tag}; expected a model for depth-estimation")
    names = _needed_files(repository, [sibling.rfilename for sibling in info.siblings or ()])
    with job.explained():
        files = {name: _look_up(repository, name, revision=info.sha) for name in names}
    size = sum(file.size for file in files.values())
    licences = [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
    licence = f"{licences[0]} by its model card" if licences else f"not stated: see {page}"
    is_non_commercial = any("-nc" in text.lower() for text in licences)
    _announce(job, size, target, licence=licence, is_non_commercial=is_non_commercial)

    with job.explained(begun=True), _workspace(job, target, size) as workspace:
        stage = workspace / f"{target.name}@{info.sha[:16]}"
        stage.mkdir(exist_ok=True)
        for name, file in files.items():
            if not (stage / name).exists():  # complete already: an earlier attempt got this far
                _fetch(file, stage / name, stage)
        os.replace(stage, target)
    return target


def _download_from_address(release: Release, target: Path) -> Path:
    """Fetch release.url with torch.hub, which always begins at the beginning and does not check the size: done here."""
    by_hand = f"download {release.url} by hand and put it into {target.parent}"
    job = Job(name=release.name, page=release.url, by_hand=by_hand, resumes=False)
    request = Request(release.url, headers={"User-Agent": "plain-dpt"})
    with job.explained(), urlopen(request, timeout=TIMEOUT) as answer:
        size = int(answer.headers.get("Content-Length") or 0)
    _announce(job, size, target, licence=release.licence, is_non_commercial=release.is_non_commercial)

    import torch.hub

    previous_timeout = socket.getdefaulttimeout()  # torch.hub sets none of its own, and would wait for ever
    with job.explained(begun=True), _workspace(job, target, size) as workspace:
        arriving = workspace / f"{target.name}@new"
        try:
            socket.setdefaulttimeout(TIMEOUT)
            torch.hub.download_url_to_file(release.url, str(arriving))
        finally:
            socket.setdefaulttimeout(previous_timeout)
        arrived = _size_of(arriving)
        if size and arrived != size:
            raise UserError(f"{release.name}: only {arrived} of {size} bytes arrived; run the same command again")
        os.replace(arriving, target)
    return target


def _endpoint() -> str:
    """The hub's address. Read here: huggingface_hub reads it once, when it is imported, which may have been before."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def _require_hub(job: Job) -> None:
    try:
        from huggingface_hub import constants
    except ImportError:
        raise UserError(
            f"{job.name}: the download needs huggingface_hub: pip install huggingface_hub; or {job.by_hand}"
        ) from None
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{job.name} is not on disk, and HF_HUB_OFFLINE forbids downloads: unset it, or {job.by_hand}")


def _look_up(repository: str, path: str, *, kind: str = "model", revision: str | None = None) -> RemoteFile:
    """Ask the hub for one file's size, ETag and commit."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    address = {"repo_id": repository, "filename": path, "repo_type": kind, "endpoint": _endpoint()}
    found = get_hf_file_metadata(hf_hub_url(**address, revision=revision), timeout=TIMEOUT, endpoint=_endpoint())
    if found.size is None or not found.etag or not found.commit_hash:
        raise ConnectionError("it does not answer as a Hugging Face hub does; is a log-in page or proxy in between?")
    url = hf_hub_url(**address, revision=found.commit_hash)
    return RemoteFile(url=url, size=found.size, etag=found.etag)


def _needed_files(repository: str, names: list[str]) -> list[str]:
    """config.json, the image processor's config and one set of weights, the small files first."""
    weights = [[name] for name in WHOLE_WEIGHTS if name in names]
    shards = sorted(name for name in names if SHARDS.fullmatch(name))
    if not weights and "model.safetensors.index.json" in shards:
        weights = [shards]
    if "config.json" not in names or not weights:
        raise UserError(
            f"{repository}: this repository does not hold config.json with model.safetensors or pytorch_model.bin; "
            "download the weight file that you want by hand and give its path"
        )
    return ["config.json", *(name for name in ("preprocessor_config.json",) if name in names), *weights[0]]


def _announce(job: Job, size: int, target: Path, *, licence: str, is_non_commercial: bool) -> None:
    remark = " (non-commercial use only)" if is_non_commercial else ""
    print(f"Downloading {job.name}, {megabytes(size) if size else 'size unknown'}; licence: {licence}{remark}")
    print(f"  from {job.page}\n  to {target}", flush=True)


@contextmanager
def _workspace(job: Job, target: Path, size: int) -> Iterator[Path]:
    """The hidden folder for what is on its way to `target`, under names NAME@..., for one process at a time.

    After success nothing of it is left. After a failure the bytes that arrived stay for the next attempt, if it can go
    on with them, unless the disk is full. Raises UserError when there is not enough space for what is still missing.
    """
    from filelock import FileLock, Timeout  # comes with torch and with huggingface_hub

    workspace = target.parent / INCOMPLETE
    workspace.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace / f"{target.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"{job.name}: another process is downloading it; wait for it, then run this again") from None

    def ours() -> list[Path]:
        return [entry for entry in workspace.iterdir() if entry.name.startswith(f"{target.name}@")]

    keep = job.resumes
    try:
        missing = size - sum(_size_of(entry) for entry in ours() if job.resumes)
        free = shutil.disk_usage(workspace).free
        if missing > free:
            raise UserError(f"{job.name} needs {megabytes(missing)} in {target.parent}, but {megabytes(free)} are free")
        yield workspace
        keep = False
    except OSError as error:
        keep = keep and error.errno not in DISK_FULL
        raise
    finally:
        for entry in ours() if not keep else ():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        lock.release()
        (workspace / f"{target.name}.lock").unlink(missing_ok=True)
        with suppress(OSError):  # it may hold other downloads
            workspace.rmdir()


def _fetch(file: RemoteFile, target: Path, workspace: Path) -> None:
    """Bring one file to `target`, going on where an earlier attempt at the same version of it stopped."""
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    arriving = workspace / f"{target.name}@{re.sub(r'[^A-Za-z0-9]', '', file.etag)[:16]}"
    arrived = _size_of(arriving)
    if arrived > file.size:
        arriving.unlink()
        arrived = 0
    try:
        with open(arriving, "ab") as stream:
            http_get(
                file.url,
                stream,
                resume_size=arrived,
                headers=build_hf_headers(library_name="plain-dpt"),
                expected_size=file.size,
                displayed_filename=target.name,
            )
    except BaseException:
        if not 0 < _size_of(arriving) <= file.size:  # nothing in it to go on with
            arriving.unlink(missing_ok=True)
        raise
    if not _fits_etag(arriving, file.etag):  # the size is right: http_get has seen to that
        arriving.unlink()
        raise UserError(f"{target.name} arrived damaged and was deleted; run the same command again")
    os.replace(arriving, target)


def _fits_etag(path: Path, etag: str) -> bool:
    """Whether the content has this SHA-256. Small files carry another kind of ETag, which says nothing here."""
    if not re.fullmatch(r"[0-9a-f]{64}", etag):
        return True
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == etag


def _size_of(path: Path) -> int:
    if path.is_dir():
        return sum(_size_of(entry) for entry in path.iterdir())
    return path.stat().st_size if path.exists() else 0
