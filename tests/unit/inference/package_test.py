"""A model package: whole or not at all, and never another one than it says."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest

from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference import package as packages
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.head_swap import read_head, swap_head
from orthanc_al.inference.package import load_package, write_package
from orthanc_al.methods.ood import Domain
from tests.support.tiny_package import CHANNELS, tiny_model, tiny_package


def run(model: bytes, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logits", "embedding", "feature_map"], {"image": images})


IMAGES = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = tiny_package(tmp_path / "p", limit=2.5)
    read = load_package(tmp_path / "p")
    assert read.ref == written.ref
    assert read.manifest == written.manifest
    assert read.contents.model == written.contents.model
    assert read.contents.domain is not None
    assert read.contents.domain.limit == 2.5
    assert [finding.name for finding in read.findings] == ["pneumonia"]


def test_the_posterior_of_the_head_travels_along(tmp_path: Path) -> None:
    source = tiny_package(tmp_path / "p")
    covariance = np.eye(CHANNELS + 1, dtype=np.float32)[np.newaxis] * 0.5
    contents = PackageContents(source.contents.model, None, covariance)
    manifest = source.manifest.model_copy(update={"files": contents.digests()})
    write_package(tmp_path / "q", manifest, contents, "")
    read = load_package(tmp_path / "q").contents.covariance
    assert read is not None
    np.testing.assert_array_equal(read, covariance)


def test_the_same_contents_have_the_same_digest(tmp_path: Path) -> None:
    first, second = tiny_package(tmp_path / "a", limit=1.0), tiny_package(tmp_path / "b", limit=1.0)
    assert first.ref == second.ref


def _load(folder: Path, contents: PackageContents, **files: bytes) -> None:
    """Load a package that is what its manifest says, whatever that is."""
    source = tiny_package(folder / "source")
    everything = contents.files() | {name.replace("_", "."): data for name, data in files.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in everything.items()}
    made = folder / "made"
    made.mkdir()
    for name, data in everything.items():
        (made / name).write_bytes(data)
    (made / "manifest.toml").write_bytes(source.manifest.model_copy(update={"files": digests}).to_toml())
    load_package(made)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["mean", "precision", "limit", "covariance", "head"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, where: str, value: float) -> None:
    model, mean, precision = tiny_model(), np.zeros(CHANNELS, np.float32), np.eye(CHANNELS, dtype=np.float32)
    covariance = np.eye(CHANNELS + 1, dtype=np.float32)[np.newaxis]
    limit = value if where == "limit" else 1.0
    if where == "head":
        model = _with(model, "head.bias", lambda tensor: _become(tensor, np.full(1, value, np.float32)))
    elif where != "limit":
        {"mean": mean, "precision": precision, "covariance": covariance}[where].flat[0] = value
    with pytest.raises(PackageRefusedError, match="finite"):
        _load(tmp_path, PackageContents(model, Domain(mean, precision, limit), covariance))


def test_weights_in_another_file_are_refused_unread(tmp_path: Path) -> None:
    def move_out(tensor: onnx.TensorProto) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../weights"

    for name in ("conv.weight", "head.weight"):
        with pytest.raises(PackageRefusedError, match="in other files"):
            _load(tmp_path / name, PackageContents(_with(tiny_model(), name, move_out)))


@pytest.mark.parametrize("what", ["one array", "text", "damaged", "cut off", "nothing"])
def test_an_archive_that_is_none_is_refused_with_its_name(tmp_path: Path, what: str) -> None:
    covariance = np.eye(CHANNELS + 1, dtype=np.float32)[np.newaxis]
    buffer = io.BytesIO()
    if what == "one array":
        np.save(buffer, covariance)
    else:
        np.savez_compressed(buffer, covariance=covariance.astype(str) if what == "text" else covariance)
    data = bytearray(buffer.getvalue())
    if what == "damaged":
        data[60:90] = b"\xff" * 30
    data = {"cut off": data[: len(data) // 2], "nothing": bytearray()}.get(what, data)
    with pytest.raises(PackageRefusedError, match=r"head\.npz can't be read"):
        _load(tmp_path, PackageContents(tiny_model()), head_npz=bytes(data))


def _with(model: bytes, name: str, change: Callable[[onnx.TensorProto], None]) -> bytes:
    proto = onnx.load_model_from_string(model)
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            change(tensor)
    return bytes(proto.SerializeToString())


def _become(tensor: onnx.TensorProto, value: np.ndarray) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))


@pytest.mark.parametrize("changed", ["model.onnx", "ood.npz"])
def test_a_changed_file_is_refused(tmp_path: Path, changed: str) -> None:
    tiny_package(tmp_path / "p", limit=1.0)
    path = tmp_path / "p" / changed
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(PackageRefusedError, match=f"{changed} is not the file"):
        load_package(tmp_path / "p")


def test_a_changed_threshold_is_another_package(tmp_path: Path) -> None:
    written = tiny_package(tmp_path / "p")
    path = tmp_path / "p" / "manifest.toml"
    path.write_text(path.read_text().replace("high = 0.7", "high = 0.8"))
    assert load_package(tmp_path / "p").ref.digest != written.ref.digest


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    tiny_package(tmp_path / "p", limit=1.0)
    (tmp_path / "p" / "model.onnx").unlink()
    (tmp_path / "p" / "ood.npz").write_bytes(b"")
    with pytest.raises(PackageRefusedError, match=r"model\.onnx is missing; ood\.npz is not the file"):
        load_package(tmp_path / "p")


def test_a_folder_without_manifest_is_no_package(tmp_path: Path) -> None:
    with pytest.raises(PackageRefusedError, match="no model package"):
        load_package(tmp_path)


def broken(**parts: object) -> PackageContents:
    given = {"model": tiny_model(), "domain": None, "covariance": None}
    return PackageContents(**{**given, **parts})


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        (broken(model=b"no onnx"), "model.onnx can't be used"),
        (broken(model=tiny_model(findings=2)), "manifest names 1 findings"),
        (broken(model=tiny_model().replace(b"feature_map", b"feature_mop")), "no output 'feature_map'"),
        (broken(domain=Domain(np.zeros(3, np.float32), np.eye(3, dtype=np.float32), 1.0)), "does not fit"),
        (
            broken(domain=Domain(np.zeros(CHANNELS, np.float32), np.eye(CHANNELS, dtype=np.float32), 0.0)),
            "does not fit",
        ),
        (broken(covariance=np.zeros((1, 2, 2), np.float32)), "does not fit 1 heads"),
    ],
)
def test_contents_that_do_not_fit_the_manifest_are_refused_and_leave_nothing(
    tmp_path: Path, contents: PackageContents, text: str
) -> None:
    source = tiny_package(tmp_path / "source").manifest
    manifest = source.model_copy(update={"files": contents.digests()})
    with pytest.raises(PackageRefusedError, match=text):
        write_package(tmp_path / "p", manifest, contents, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("name", ["ood.npz", "head.npz"])
def test_arrays_that_can_not_be_read_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = tiny_package(tmp_path / "source")
    files = {"model.onnx": source.contents.model, name: b"no archive"}
    monkeypatch.setattr(PackageContents, "files", lambda _: files)
    manifest = source.manifest.model_copy(update={"files": source.contents.digests()})
    with pytest.raises(PackageRefusedError, match=f"{name} can't be read"):
        write_package(tmp_path / "p", manifest, source.contents, "")


@pytest.mark.parametrize("same", [True, False])
def test_of_two_that_write_a_package_at_once_the_second_takes_the_first_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    source = tiny_package(tmp_path / "source")
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        tiny_package(tmp_path / "p", seed=0 if same else 1)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    if same:
        assert write_package(tmp_path / "p", source.manifest, source.contents, "").ref == source.ref
    else:
        with pytest.raises(PackageRefusedError, match="another folder"):
            write_package(tmp_path / "p", source.manifest, source.contents, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "source"]


def test_a_package_is_never_changed_in_place(tmp_path: Path) -> None:
    first = tiny_package(tmp_path / "p")
    assert tiny_package(tmp_path / "p").ref == first.ref
    with pytest.raises(PackageRefusedError, match="another folder"):
        tiny_package(tmp_path / "p", seed=1)
    assert load_package(tmp_path / "p").ref == first.ref


def test_a_writer_that_dies_leaves_no_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packages, "_write_durably", full)
    with pytest.raises(OSError, match="No space"):
        tiny_package(tmp_path / "p")
    assert not list(tmp_path.iterdir())


def test_another_head_changes_logits_as_it_says_and_no_bit_of_the_embeddings() -> None:
    model = tiny_model()
    weight, bias = read_head(model)
    swapped = swap_head(model, weight * 2.0, bias + 1.0)
    before, after = run(model, IMAGES), run(swapped, IMAGES)
    np.testing.assert_array_equal(before[1], after[1])
    np.testing.assert_array_equal(before[2], after[2])
    np.testing.assert_allclose(after[0], before[0] * 2.0 + 1.0, rtol=1e-5)


def test_the_same_head_gives_the_same_results() -> None:
    model = tiny_model()
    for before, after in zip(
        run(model, IMAGES), run(swap_head(model, *read_head(model)), IMAGES), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("bad", [np.zeros((CHANNELS, 2)), np.full((CHANNELS, 1), np.nan)])
def test_a_head_that_does_not_fit_is_an_error(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"head\.weight"):
        swap_head(tiny_model(), bad, np.zeros(1))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(PackageRefusedError, match=r"head\.weight"):
        read_head(tiny_model().replace(b"head.weight", b"tail.weight"))
