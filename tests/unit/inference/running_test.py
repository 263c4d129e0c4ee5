"""Sessions, packages that run, and regions."""

from pathlib import Path

import numpy as np
import pytest
import structlog

from orthanc_al.domain import ModelRef, Region
from orthanc_al.errors import ModelError, NoMemoryError, PackageRefusedError, ProviderError
from orthanc_al.inference import running as runnings
from orthanc_al.inference import session as sessions
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.manifest import Run
from orthanc_al.inference.region import class_activation, region
from orthanc_al.inference.running import Models
from orthanc_al.inference.scorer import Outputs
from orthanc_al.inference.session import CPU, CUDA, TENSORRT, Session
from tests.support.tiny_package import CHANNELS, tiny_model, tiny_package


def _batch(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 1, 32, 32)).astype(np.float32)


def test_logits_are_embedding_times_head_for_any_batch():
    outputs = Session(tiny_model(findings=2)).run(_batch(5))
    assert outputs.logits.shape == (5, 2)
    assert outputs.embedding.shape == (5, CHANNELS)
    assert outputs.feature_map.shape == (5, CHANNELS, 8, 8)
    one = Session(tiny_model(findings=2)).run(_batch(5)[2:3])
    assert np.allclose(one.logits, outputs.logits[2:3], atol=1e-6)


def test_without_a_driver_cuda_is_not_asked_for_and_the_provider_is_told_truly(monkeypatch):
    monkeypatch.setattr(sessions, "cuda_driver_loads", lambda: False)
    assert Session(tiny_model()).provider == CPU
    with pytest.raises(ProviderError, match=r"inference\.require_gpu"):
        Session(tiny_model(), require_gpu=True)


def test_a_driver_that_is_not_there_is_no_error(monkeypatch):
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(sessions.ctypes, "CDLL", missing)
    assert not sessions.cuda_driver_loads()
    monkeypatch.setattr(sessions.ctypes, "CDLL", lambda name: name)
    assert sessions.cuda_driver_loads()


class _Runtime:
    """Stands for ONNX Runtime's session where no GPU is: fails with the providers that it is told to."""

    def __init__(self, *broken: str) -> None:
        self.broken, self.asked, self.fallback = broken, [], []
        self.real = sessions.onnxruntime.InferenceSession

    def __call__(self, model, options, providers, enable_fallback):
        names = [one if isinstance(one, str) else one[0] for one in providers]
        self.asked.append(providers)
        self.fallback.append(enable_fallback)
        if names[0] in self.broken:
            raise RuntimeError("CUDA failure 35: CUDA driver version is insufficient")
        return self.real(model, options, providers=[CPU])


def _with_a_driver(monkeypatch, *broken: str) -> _Runtime:
    runtime = _Runtime(*broken)
    monkeypatch.setattr(sessions, "cuda_driver_loads", lambda: True)
    monkeypatch.setattr(sessions.onnxruntime, "preload_dlls", lambda: print("Failed to load libcudnn"))
    monkeypatch.setattr(sessions.onnxruntime, "InferenceSession", runtime)
    return runtime


def test_cuda_is_asked_for_memory_as_needed_and_nothing_is_printed_where_programs_read(monkeypatch, capsys):
    runtime = _with_a_driver(monkeypatch)
    Session(tiny_model())
    Session(tiny_model(), tensorrt=True)
    cuda = (CUDA, {"arena_extend_strategy": "kSameAsRequested"})
    assert runtime.asked == [[cuda, CPU], [TENSORRT, cuda, CPU]]
    assert capsys.readouterr().out == ""


def test_onnx_runtime_goes_to_no_other_provider_by_itself(monkeypatch):
    """It would do so in the middle of the work, and `provider` would go on to say CUDA."""
    runtime = _with_a_driver(monkeypatch)
    Session(tiny_model())
    Session(tiny_model(), cpu=True)
    assert runtime.fallback == [0, 0]


def test_where_a_provider_fails_at_the_start_the_next_one_is_taken_and_the_log_says_why(monkeypatch):
    runtime = _with_a_driver(monkeypatch, TENSORRT, CUDA)
    with structlog.testing.capture_logs() as logs:
        assert Session(tiny_model(), tensorrt=True).provider == CPU
    assert [one["provider"] for one in logs if one["event"] == "provider_failed"] == [TENSORRT, CUDA]
    assert "driver version is insufficient" in logs[0]["error"]
    assert len(runtime.asked) == 3
    with pytest.raises(ProviderError, match=r"inference\.require_gpu"):
        Session(tiny_model(), require_gpu=True)


class _Gpu(Session):
    """Says that it runs on CUDA, has room for ``room`` images and ``sessions`` networks; no GPU is here."""

    room, sessions, made = 100, 100, 0

    def __init__(self, model, threads=1, *, cpu=False, **_):
        super().__init__(model, threads, cpu=True)
        _Gpu.made += not cpu
        self._provider = CPU if cpu or _Gpu.made > _Gpu.sessions else CUDA

    def run(self, batch):
        if self._provider == CUDA and len(batch) > _Gpu.room:
            raise NoMemoryError("CUDA failure 2: out of memory")
        return super().run(batch)


@pytest.mark.parametrize(
    ("room", "networks", "batch", "sizes"),
    [
        (100, 100, 0, (1, 8, 32)),
        (100, 100, 20, (1, 8, 20)),
        (9, 100, 0, (1, 8)),  # by its memory
        (100, 2, 0, (1, 8)),  # no room for another session
        (4, 100, 0, (1,)),
    ],
)
def test_a_gpu_runs_batches_of_fixed_sizes_as_far_as_its_memory_goes(
    tmp_path: Path, monkeypatch, room, networks, batch, sizes
):
    monkeypatch.setattr(runnings, "Session", _Gpu)
    for name, value in {"room": room, "sessions": networks, "made": 0}.items():
        monkeypatch.setattr(_Gpu, name, value)
    package = tiny_package(tmp_path / "package", run=Run(batch=batch))
    with structlog.testing.capture_logs() as logs:
        model = Models().get(package.folder, package.ref)
    assert model.session.provider == CUDA
    assert model.session._largest == sizes[-1]
    assert [one.size for one in model.session._scorer.each] == list(sizes)
    assert len([one for one in logs if one["event"] == "batch_size_left_out"]) == (len(sizes) < 3)
    assert model.session.run(_batch(13)).logits.shape == (13, 1)


def test_each_size_of_batch_has_to_give_what_the_thresholds_hold_for(tmp_path: Path, monkeypatch):
    class OffAtEight(_Gpu):
        def run(self, batch):
            outputs = super().run(batch)
            shift = 0.1 * (len(batch) == 8 and self._provider == CUDA)
            return Outputs(outputs.logits + shift, outputs.embedding, outputs.feature_map)

    monkeypatch.setattr(_Gpu, "made", 0)
    monkeypatch.setattr(runnings, "Session", OffAtEight)
    package = tiny_package(tmp_path / "package")
    assert Models().get(package.folder, package.ref).session.provider == CPU


def test_a_cpu_runs_what_comes_as_it_comes(tmp_path: Path):
    package = tiny_package(tmp_path / "package")
    session = Models().get(package.folder, package.ref).session
    assert isinstance(session._scorer, Session)
    assert session._largest == 8


def test_bytes_that_are_no_model_are_refused():
    with pytest.raises(ModelError, match="can't load the model"):
        Session(b"no model")


def test_a_model_that_gives_no_number_is_told():
    with pytest.raises(ModelError, match="not a finite number"):
        Session(tiny_model()).run(np.full((1, 1, 32, 32), np.nan, np.float32))


def test_a_package_is_loaded_once_and_anew_after_a_promotion(tmp_path: Path):
    first, second = (tiny_package(tmp_path / str(n), version=str(n), seed=n) for n in (1, 2))
    models = Models()
    assert models.providers() == {}
    one = models.get(first.folder, first.ref)
    assert models.get(first.folder, first.ref) is one
    assert models.get(second.folder, second.ref).package.ref == second.ref
    assert models.providers() == {"tiny": one.session.provider}


def test_a_folder_that_holds_another_package_than_the_ledger_says_is_refused(tmp_path: Path):
    package = tiny_package(tmp_path / "package")
    with pytest.raises(PackageRefusedError, match="the ledger says tiny 1"):
        Models().get(package.folder, ModelRef("tiny", "1", "0" * 64))
    (package.folder / "model.onnx").write_bytes(tiny_model(seed=9))
    with pytest.raises(PackageRefusedError, match=r"model\.onnx"):
        Models().get(package.folder, package.ref)


def test_the_mean_of_the_class_activation_is_the_logit_without_its_bias():
    model = tiny_model()
    weight, bias = read_head(model)
    outputs = Session(model).run(_batch(1))
    activation = class_activation(outputs.feature_map[0], weight[:, 0])
    assert activation.mean() == pytest.approx(float(outputs.logits[0, 0] - bias[0]), abs=1e-5)


def test_the_region_is_the_strongest_part_in_the_image_s_pixels():
    activation = np.zeros((4, 8), np.float32)
    activation[1, 2:4] = [4, 3]
    activation[3, 7] = 2.5  # above half, but not connected
    assert region(activation, rows=400, columns=1600) == Region(400, 100, 800, 200)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_where_nothing_speaks_for_the_finding_there_is_no_region(value):
    assert region(np.full((4, 4), value, np.float32), 10, 10) is None


def test_a_region_may_be_the_whole_image():
    assert region(np.ones((4, 4), np.float32), 10, 20) == Region(0, 0, 20, 10)
