"""`make bench B="--only gpu"`: on the CPU provider here, so that on a GPU the name alone is another."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from orthanc_al.inference import session as sessions
from orthanc_al.inference.session import CPU, CUDA
from tests.bench import compare, gpu, nvidia
from tests.bench.bare import Bound, placed, placement
from tests.bench.gpu import Amounts
from tests.bench.series import Series
from tests.support.tiny_package import tiny_model

SHORT = Amounts(turns={1: 3, 8: 2}, films={uid.HTJ2KLossless: 2}, of_memory=20)


def batch(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 1, 32, 32)).astype(np.float32)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one is, the tests are of the CPU provider all the same."""
    for module in (sessions, gpu):
        monkeypatch.setattr(module, "cuda_driver_loads", lambda: False)
    monkeypatch.setattr(gpu, "provider", lambda: CPU)


def takes(title: str, folder: Path) -> list[Series]:
    steps: list[None] = []
    made = gpu.parts(SHORT)[title](folder, 2, lambda: steps.append(None))
    assert len(steps) == 2
    return made


def test_a_run_by_bare_binding_gives_what_the_session_gives() -> None:
    bound = Bound(tiny_model(), batch(3), 1)
    assert (bound.provider, bound.device) == (CPU, "cpu")
    bound.run()
    logits, embedding, feature_map = bound.run_with_copies()
    assert (logits.shape, len(embedding), len(feature_map)) == ((3, 1), 3, 3)
    assert np.isfinite(logits).all()


def test_the_nodes_are_those_that_the_profile_names() -> None:
    here = placement(tiny_model(), batch(1))
    assert list(here) == [CPU]
    assert {"Conv", "GlobalAveragePool"} <= set(here[CPU])
    events = [
        {"cat": "Session", "name": "model_run", "args": {}},
        {"cat": "Node", "name": "a_fence_before", "args": {"op_name": "Conv"}},
        {"cat": "Kernel", "name": "cudnn::conv", "args": {"op_name": "Conv"}},
        {"cat": "Node", "name": "a_kernel_time", "args": {"op_name": "Conv", "provider": CUDA}},
        {"cat": "Node", "name": "b_kernel_time", "args": {"op_name": "Conv", "provider": CUDA}},
        {"cat": "Node", "name": "c_kernel_time", "args": {"op_name": "Shape", "provider": CPU}},
    ]
    assert placed(events) == {CUDA: Counter(Conv=2), CPU: Counter(Shape=1)}


def test_what_falls_back_is_named_with_its_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {CPU: Counter(Shape=2, NonZero=1), CUDA: Counter(Conv=20, MemcpyToHost=3)}
    monkeypatch.setattr(gpu, "provider", lambda: CUDA)
    monkeypatch.setattr(gpu, "placement", lambda *_, **__: found)
    (series,) = takes("gpu: provider", tmp_path)
    assert series.rounds == {f"orthanc_al on {CUDA}": [23.0], f"orthanc_al on {CPU}": [3.0]}
    assert "On the CPU: 2 Shape, 1 NonZero, with 3 copies to and fro" in series.remark
    monkeypatch.setattr(gpu, "placement", lambda *_, **__: {CUDA: Counter(Conv=20)})
    assert "All of them are on the GPU" in takes("gpu: provider", tmp_path)[0].remark


def test_without_a_gpu_all_that_the_cpu_can_do_is_measured_and_named(tmp_path: Path) -> None:
    made = [series for title in gpu.parts(SHORT) for series in takes(title, tmp_path)]
    assert all(
        figure > 0
        for one in made
        for of in one.rounds.values()
        for figure in of
        if "difference" not in one.measure
    )
    assert all(one.measure.startswith(CPU) for one in made[1:-1])
    by_name = {one.measure: one for one in made}
    alone = by_name[f"{CPU}: run a batch of 1"]
    assert [who for who in alone.rounds if who.startswith("orthanc_al")] == ["orthanc_al, Session.run"]
    assert [len(of) for of in alone.rounds.values()] == [2, 2, 2]
    mixed = next(one for one in made if "one after the other" in one.measure)
    assert next(iter(mixed.rounds)) == "orthanc_al, one session, as they come"
    half = next(one for one in made if "difference of a logit" in one.measure)
    assert half.rounds["orthanc_al, float32"] == [0.0]
    assert 0 < half.rounds["orthanc_al, half precision"][0] < 0.04
    backlog = next(one for one in made if "HTJ2K" in one.measure)
    assert f"the workers' crew of {gpu._WORKERS}" in next(iter(backlog.rounds))
    assert made[-1].rounds == {}
    assert made[-1].remark.startswith("left out")
    assert "CUDA graphs and GPU memory are left out" in gpu.said()


class _OnCuda(Bound):
    """Says that it runs on CUDA; a graph is made, refused or wrong as it is told. No GPU is here."""

    graph = "made"

    def __init__(self, model: bytes, images: np.ndarray, threads: int, *, graph: bool = False) -> None:
        if graph and self.graph == "refused":
            raise RuntimeError("not all nodes are partitioned to the CUDA EP")
        super().__init__(model, images * 3 if graph and self.graph == "wrong" else images, threads)
        self.provider = CUDA


@pytest.mark.parametrize("graph", ["made", "refused"])
def test_a_cuda_graph_is_a_contestant_or_its_absence_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph: str
) -> None:
    monkeypatch.setattr(gpu, "Bound", _OnCuda)
    monkeypatch.setattr(_OnCuda, "graph", graph)
    alone, *_ = takes("gpu: run", tmp_path)
    assert any("CUDA graph" in who for who in alone.rounds) == (graph == "made")
    assert ("not all nodes are partitioned" in alone.remark) == (graph == "refused")


def test_a_loop_that_gives_something_else_has_no_figure_and_the_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "Bound", _OnCuda)
    monkeypatch.setattr(_OnCuda, "graph", "wrong")
    (failed,) = gpu.parts(SHORT)["gpu: run"](tmp_path, 1, lambda: None)
    assert failed.rounds == {}
    assert "failed: RuntimeError: bare IO binding" in failed.remark
    assert "gives logits that differ by" in capsys.readouterr().err


SAID = "NVIDIA H200, 570.86.15, 1234, 143771"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the driver's program; it prints the file `says`, and writes down what it is asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncat {folder}/says\n')
    program.chmod(0o755)
    (folder / "says").write_text(SAID + "\n")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_the_driver_is_asked_for_the_gpu_that_this_process_may_use(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for visible, asked in (("", "0"), ("3,1", "3"), ("GPU-5f", "GPU-5f")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert str(nvidia.gpu()) == "NVIDIA H200, 143,771 MiB, driver 570.86.15"
        assert f"--id={asked} " in (smi / "asked").read_text()
    (smi / "says").unlink()
    assert nvidia.gpu() is None


def test_what_the_driver_does_not_tell_is_unknown() -> None:
    assert nvidia.parsed("NVIDIA GB10, 580.1, [N/A], [N/A]\n") == nvidia.Gpu(
        "NVIDIA GB10", "580.1", None, None
    )
    assert str(nvidia.parsed("NVIDIA GB10, 580.1, [N/A], [N/A]")) == "NVIDIA GB10, driver 580.1"
    assert nvidia.parsed("No devices were found\n") is None


def test_without_the_driver_s_program_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.gpu() is None


def test_the_gpu_s_memory_is_read_before_the_films_and_after(
    tmp_path: Path, smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "provider", lambda: CUDA)
    (series,) = takes("gpu: memory", tmp_path)
    assert series.rounds == {
        f"orthanc_al, {when}": [1234.0] for when in ("loaded", "after a tenth", "after all")
    }
    assert "NVIDIA H200" in gpu.said()
    (smi / "says").write_text("NVIDIA GB10, 580.1, [N/A], [N/A]\n")
    assert takes("gpu: memory", tmp_path)[0].remark.startswith("left out: nvidia-smi")


def test_a_driver_without_cuda_is_told_apart_from_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "cuda_driver_loads", lambda: True)
    assert "make bench EXTRAS=cuda13" in gpu.said()


TITLES = ["receive", "decode", "inference: backlog", *gpu.parts()]


@pytest.mark.parametrize(
    ("only", "here", "wanted"),
    [
        ("", False, TITLES[:3]),
        ("", True, TITLES),
        ("gpu", False, TITLES[3:]),
        ("backlog", False, ["inference: backlog"]),  # as long as ever where no GPU is
        ("backlog", True, ["inference: backlog", "gpu: backlog"]),
        ("gpu: run", False, ["gpu: run"]),
    ],
)
def test_the_gpu_is_measured_where_there_is_one_or_where_it_is_asked_for(
    only: str, here: bool, wanted: list[str]
) -> None:
    assert compare._chosen(TITLES, only, lambda: here) == wanted


def test_what_talks_to_nobody_needs_neither_peers_nor_a_network_namespace() -> None:
    assert [compare._is_alone(title) for title in TITLES] == [False, *[True] * (len(TITLES) - 1)]
    assert set(TITLES) <= set(compare._measures(Path(), 0))
    assert set(compare._measures(Path(), 0)) >= compare._ALONE


def test_the_bench_prints_and_keeps_what_it_ran_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["bench", "--rounds", "1", "--only", "gpu: provider"])
    monkeypatch.delenv(compare._INSIDE, raising=False)
    compare.main()
    assert capsys.readouterr().out.startswith("gpu: no GPU is used here")
    kept = json.loads((tmp_path / "bench-results" / "latest.json").read_text())
    assert kept["series"][0]["remark"] in (tmp_path / "bench-results" / "latest.md").read_text()
    assert kept["machine"]["GPU"]
