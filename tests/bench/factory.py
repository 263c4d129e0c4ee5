"""Print what models/cxr-pneumonia can do on held-out patients: ``python -m tests.bench.factory [DATA]``.

The patients are those whose hash with seed 0 falls into the judging part
(:func:`orthanc_al.learn.factory.dataset.part_of`), so nobody keeps a list. DATA is the folder of the public
data (``../shared/data`` by default). The figures are those of the model card, measured anew through the
packaged ONNX file and ONNX Runtime; scoring time is printed beside them.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.inference.package import load_package
from orthanc_al.learn.factory.augment import SHIFT_S2, SHIFT_S4
from orthanc_al.learn.factory.dataset import Part, load_films
from orthanc_al.learn.factory.figures import Scored, discrimination, operation, outside
from orthanc_al.learn.factory.junk import JUNK

ROOT = Path(__file__).parents[2]
Films = NDArray[np.uint8]
LOOKS = {"scanner look S2": SHIFT_S2, "scanner look S4": SHIFT_S4}


def main(data: Path) -> None:
    """Score the held-out films, as they are and changed, and print every figure."""
    package = load_package(ROOT / "models" / "cxr-pneumonia")
    session = onnxruntime.InferenceSession(package.contents.model, providers=["CPUExecutionProvider"])
    films = load_films(data / "labelled" / "kermany_cxr_224").part(Part.JUDGE, 0)

    def run(images: list[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        inputs = np.stack([preprocess(image, package.manifest.preprocessing) for image in images])
        parts = [
            session.run(["logits", "embedding"], {"image": inputs[start : start + 8]})
            for start in range(0, len(inputs), 8)
        ]
        logits, embeddings = (np.concatenate(part) for part in zip(*parts, strict=True))
        return logits[:, 0], embeddings

    def changed(
        change: Callable[[Films, np.random.Generator], Films],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return run([change(film, np.random.default_rng(row)) for row, film in enumerate(films.images)])

    start = time.perf_counter()
    logits, embeddings = run(list(films.images))
    seconds = time.perf_counter() - start
    scored = Scored(embeddings, logits.astype(np.float64), films.labels, films.patients)
    shifted = {name: changed(look.apply) for name, look in LOOKS.items()}
    junk = {f"junk: {name}": changed(change)[1] for name, change in JUNK.items()}
    entry, domain = package.manifest.findings[0], package.contents.domain
    assert domain is not None
    of_looks = {name: rows for name, (_, rows) in shifted.items()}
    kinds = {"held-out patients": embeddings, **of_looks, **junk}
    metrics = [
        *discrimination(entry.name, scored, {name: v.astype(np.float64) for name, (v, _) in shifted.items()}),
        *operation(entry.name, scored, entry.calibrator, entry.thresholds),
        *outside(entry.name, domain, kinds, films.patients),
    ]
    print(f"{package.ref}: {len(films)} films of {len(set(films.patients))} held-out patients")
    print(f"preprocessing and scoring: {seconds / len(films) * 1e3:.1f} ms a film, batches of 8")
    for m in metrics:
        print(f"{m.name:28} {m.on:36} {m.value:.4f}  ({m.low:.4f} to {m.high:.4f})")


if __name__ == "__main__":
    default = os.environ.get("ORTHANC_AL_DATA", ROOT.parent / "shared" / "data")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else default))
