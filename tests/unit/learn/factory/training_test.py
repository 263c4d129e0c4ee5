"""train-factory on made-up films: resumes, exports what it trained, writes a package that loads."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from rich.console import Console

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.errors import ConfigurationError
from orthanc_al.learn.factory import train_factory
from tests.support.factory import made_up_films, write_films

SPEC = PreprocessingSpec(size=32)
QUIET = Console(file=io.StringIO())
needs_torch = pytest.mark.needs_torch


def test_without_torch_the_user_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'orthanc-al\[finetune\]'"):
        train_factory(tmp_path, tmp_path / "out", seed=0, work_dir=tmp_path / "work", console=QUIET)


@needs_torch
def test_a_folder_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there already"):
        train_factory(tmp_path, tmp_path, seed=0, work_dir=tmp_path / "work", console=QUIET)


@needs_torch
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    from orthanc_al.learn.factory.training import Recipe, Trainer  # noqa: PLC0415

    films = made_up_films(48)
    recipe = Recipe(epochs=2, batch=16)
    whole = Trainer(films, SPEC, recipe).run(tmp_path / "whole.pt", QUIET)

    class Interrupted(Trainer):
        def _save(self, checkpoint: Path) -> None:
            super()._save(checkpoint)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(films, SPEC, recipe).run(tmp_path / "cut.pt", QUIET)
    resumed = Trainer(films, SPEC, recipe)
    network = resumed.run(tmp_path / "cut.pt", QUIET)
    assert resumed.epoch == 2
    for ours, theirs in zip(network.parameters(), whole.parameters(), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), atol=2e-2)


@needs_torch
def test_a_checkpoint_of_other_films_or_another_recipe_is_not_continued(tmp_path: Path) -> None:
    from orthanc_al.learn.factory.training import Recipe, Trainer  # noqa: PLC0415

    films, recipe = made_up_films(32), Recipe(epochs=1, batch=16)
    Trainer(films, SPEC, recipe).run(tmp_path / "c.pt", QUIET)
    for other in (
        Trainer(made_up_films(32, seed=1), SPEC, recipe),
        Trainer(films, SPEC, replace(recipe, seed=1)),
    ):
        other._resume(tmp_path / "c.pt")
        assert other.epoch == 0


@needs_torch
def test_the_rate_rises_then_falls() -> None:
    from orthanc_al.learn.factory.training import Recipe, learning_rate  # noqa: PLC0415

    recipe = Recipe()
    rates = [learning_rate(recipe, progress) for progress in np.linspace(0, 1, 101)]
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(recipe.peak_rate)
    assert peak == 10
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_onnx_file_computes_what_the_network_does_for_any_number_of_images() -> None:
    from orthanc_al.inference.head_swap import read_head  # noqa: PLC0415
    from orthanc_al.learn.factory.export import embed, export_onnx  # noqa: PLC0415
    from orthanc_al.learn.factory.network import Network  # noqa: PLC0415

    network = Network(1, widths=(4, 8), strides=(1, 2), blocks=(1, 1)).eval()
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((8, 3)).astype(np.float32), np.ones(3, np.float32)
    model = export_onnx(network, weight, bias, 32)
    np.testing.assert_array_equal(read_head(model)[0], weight)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        images = rng.standard_normal((count, 1, 32, 32)).astype(np.float32)
        logits, embedding, feature_map = session.run(
            ["logits", "embedding", "feature_map"], {"image": images}
        )
        np.testing.assert_allclose(embedding, embed(network, images), atol=1e-5)
        np.testing.assert_allclose(logits, embedding @ weight + bias, atol=1e-5)
        np.testing.assert_allclose(feature_map.mean((2, 3)), embedding, atol=1e-5)
    assert str(Path(__file__).parents[4]).encode() not in model


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_whole_command_writes_a_package_that_loads_and_the_demos_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orthanc_al.inference.package import load_package  # noqa: PLC0415
    from orthanc_al.learn.factory import making  # noqa: PLC0415
    from orthanc_al.learn.factory.training import Recipe  # noqa: PLC0415

    monkeypatch.setattr(making, "Recipe", lambda seed: Recipe(seed=seed, epochs=1, batch=32))
    data = write_films(made_up_films(360), tmp_path / "data")
    train_factory(data, tmp_path / "out", seed=0, work_dir=tmp_path / "work", console=QUIET)
    package = load_package(tmp_path / "out")
    assert [finding.code.key for finding in package.findings] == [("233604007", "SCT")]
    assert package.contents.domain is not None
    assert package.contents.covariance is not None
    assert {metric.name for metric in package.manifest.metrics} >= {"auc", "sensitivity", "outside-domain"}
    assert "CC BY 4.0" in (tmp_path / "out" / "MODEL_CARD.md").read_text()
    with np.load(tmp_path / "work" / "films.npz") as archive:
        assert archive["films"].shape[1:] == (240, 288)
