"""Where a model runs, and whether a window can be opened."""

import contextlib

import cv2
import pytest
import torch

from lib.demo.device import check_device, choose_placement
from lib.demo.display import require_display
from lib.errors import UserError


def test_placement(monkeypatch):
    def pretend(*, cuda: int = 0, bfloat16: bool = True, mps: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16)
        monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    def chosen(requested: str | None = None, use_float32: bool = False) -> tuple[str, torch.dtype]:
        placement = choose_placement(requested, use_float32=use_float32)
        assert str(placement.device) in str(placement) and placement.reason
        return str(placement.device), placement.dtype

    pretend()
    assert chosen() == ("cpu", torch.float32)
    pretend(mps=True)
    assert chosen() == ("mps", torch.float32) and chosen("cpu") == ("cpu", torch.float32)
    pretend(cuda=2, mps=True)
    assert chosen() == ("cuda", torch.bfloat16) and chosen("cuda:1") == ("cuda:1", torch.bfloat16)
    assert chosen(use_float32=True) == ("cuda", torch.float32)
    with pytest.raises(UserError, match="cuda:0, cuda:1"):
        check_device("cuda:2")
    pretend(cuda=1, bfloat16=False)
    assert chosen() == ("cuda", torch.float32)
    pretend()
    for name in ("cuda", "mps", "meta", "tpu", ""):
        with pytest.raises(UserError, match="-d"):
            check_device(name)


def test_headless_opencv_points_at_files(monkeypatch):
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    with pytest.raises(UserError, match="headless.*-o FOLDER"):
        require_display()
