"""Sessions, packages that run, and regions."""

from pathlib import Path

import numpy as np
import pytest

from orthanc_al.domain import ModelRef, Region
from orthanc_al.errors import ModelError, PackageRefusedError, ProviderError
from orthanc_al.inference import session as sessions
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.region import class_activation, region
from orthanc_al.inference.running import Models
from orthanc_al.inference.session import CPU, Session
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
