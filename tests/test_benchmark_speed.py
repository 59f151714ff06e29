"""benchmark_speed.py: every table comes out for a tiny model and goes into the file. What it measures is not tested here."""

import re
from dataclasses import replace

import pytest
import torch

from experiments import benchmark_cpu, benchmark_gpu, benchmark_speed
from experiments.benchmark_models import MODELS, load_pair
from experiments.benchmark_tables import NOT_MEASURED, median_ratio, table, time_in_turn, write_section
from lib.demo.script import run_script

TINY = ("dinov2", 56, {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6})


@pytest.fixture(autouse=True)
def tiny(monkeypatch) -> str:
    monkeypatch.setitem(MODELS, "tiny", TINY)
    monkeypatch.setattr(benchmark_cpu, "LARGE_PICTURE", (60, 80))
    monkeypatch.setattr(benchmark_cpu, "SCRIPTS", ())
    return "tiny"


def run(*arguments: object) -> int:
    args = benchmark_speed.parse_args([str(argument) for argument in arguments])
    return run_script(benchmark_speed.main, args)


def rows_of(text: str, section: str) -> list[list[str]]:
    """The cells of a section's table, without the head."""
    inside = text.split(f"<!-- {section} -->")[1].split("<!-- end of")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in inside.splitlines() if line.startswith("|")]
    assert len(rows[0]) > 1 and set(rows[1]) == {"---"} and {len(row) for row in rows} == {len(rows[0])}
    return rows[2:]


def test_tables_for_every_device(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_cpu, "peak_memory", lambda *_: "1")
    file = tmp_path / "RESULTS.md"
    tables = ("speed", "sizes", "batches", "pictures")
    options = ("--pairs", 1, "--sides", 28, 56, "--largest_batch", 2)
    assert run("tiny", "--tables", *tables, *options, "--write", file) == 0
    text, printed = file.read_text(), capsys.readouterr().out
    for name in tables:
        rows = rows_of(text, name)
        assert all("tiny" in row[0] for row in rows) and " ".join(rows[0]).count("nan") == 0
        assert f"| {' | '.join(rows[0])} |" in printed
    assert torch.__version__ in text and re.search(r"\d{4}-\d\d-\d\d", text)
    sizes = rows_of(text, "sizes")
    assert [row[1] for row in sizes] == ["28", "56"] and float(sizes[0][-2]) < float(sizes[1][-2])  # operations


def test_without_a_gpu_the_file_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    file = tmp_path / "RESULTS.md"
    assert run("--tables", "gpu", "gpu-errors", "--write", file) == 0
    assert file.read_text().count(NOT_MEASURED) == 2


def test_the_gpu_tables_come_out_of_a_cpu_too(monkeypatch):
    monkeypatch.setattr(benchmark_gpu, "BATCHES", (1,))
    args = benchmark_speed.parse_args(["tiny", "--pairs", "1"])
    speed = benchmark_gpu.measure_gpu(["tiny"], args, device="cpu", backend="eager")
    ways = [line.split("|")[3].strip() for line in speed.splitlines() if line.startswith("| tiny")]
    assert ways == [benchmark_gpu.TRANSFORMERS, "transformers, compiled", "ours, uncached", "ours, cached", "ours, compiled"]
    errors = benchmark_gpu.measure_gpu_errors(["tiny"], args, device="cpu").splitlines()[2].split("|")[3:-1]
    exact, _, bfloat16, float16 = (float(cell.split("(")[0]) for cell in errors)
    assert 0 < exact < 1e-4 < float16 < bfloat16 < 1


def test_the_engines_stand_beside_pytorch(monkeypatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from lib.demo import onnx_export

    export = onnx_export.export_network
    monkeypatch.setattr(  # one size is exported much faster than every size
        onnx_export, "export_network", lambda model, path, facts: export(model, path, replace(facts, fixed_hw=(56, 56)))
    )
    args = benchmark_speed.parse_args(["tiny", "--pairs", "1"])
    lines = benchmark_cpu.measure_engines(["tiny"], args).splitlines()
    errors = {line.split("|")[2].strip(): line.split("|")[5].strip() for line in lines if line.startswith("| tiny")}
    assert float(errors["PyTorch, float32"]) < 1e-3 and float(errors["onnxruntime, float32"]) < 1e-3
    assert "onnxruntime, float32, whole way" in errors


def test_operations_are_those_of_the_formulas():
    pair = load_pair("tiny")
    few, many = (benchmark_cpu.count_operations(pair.ours, 56, width) for width in (56, 112))
    features, layers = TINY[2]["hidden_size"], TINY[2]["num_hidden_layers"]
    tokens = 1 + 4 * 4
    of_blocks = layers * (24 * tokens * features**2 + 4 * tokens**2 * features)  # products count twice: times and plus
    assert of_blocks < few < 4 * of_blocks and 1.9 * few < many < 2.2 * few


def test_peak_memory_is_what_a_run_needs():
    if not benchmark_cpu.Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not tell the peak")
    assert 0 <= benchmark_cpu._peak_bytes(TINY, 56, "ours", 1) < 1e9


def test_starting_is_measured(monkeypatch):
    commands = []
    monkeypatch.setattr(benchmark_cpu.subprocess, "run", lambda command, **_: commands.append(command))
    monkeypatch.setattr(benchmark_cpu, "SCRIPTS", ("run_image.py",))
    text = benchmark_cpu.measure_start(["tiny"], benchmark_speed.parse_args(["--pairs", "1"]))
    assert len(text.splitlines()) == 6 and commands[-1][-2:] == ["run_image.py", "--help"]


def test_sections_are_replaced_and_others_stay(tmp_path):
    file = tmp_path / "RESULTS.md"
    for name, text in (("a", "first"), ("b", "second"), ("a", "third")):
        write_section(file, name, f"Title {name}", text)
    whole = file.read_text()
    assert "first" not in whole and whole.count("Title a") == 1 and whole.index("third") < whole.index("second")


def test_contestants_take_turns():
    order = []
    seconds = time_in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, pairs=2)
    assert order == ["a", "b"] * 3 and {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert median_ratio([1, 2, 30], [2, 2, 2]) == 1
    assert table(["x"], [["1"]]) == "| x |\n| --- |\n| 1 |"


def test_unknown_models_are_named(capsys):
    with pytest.raises(SystemExit):
        run("nonsense")
    assert "nonsense" in capsys.readouterr().err


def test_a_model_that_computes_something_else_is_not_timed(monkeypatch, capsys):
    from experiments import benchmark_models

    monkeypatch.setattr(benchmark_models, "LARGEST_DIFFERENCE", 0.0)
    assert run("tiny", "--pairs", 1) == 1
    assert "differs by" in capsys.readouterr().err
