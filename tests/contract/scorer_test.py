"""What runs a network gives the same, wherever it runs, and says in words when it can't.

Here, on a small server that speaks the Open Inference Protocol, and on MLServer where
ORTHANC_AL_TEST_MLSERVER names its environment (`make test-inference-server`).
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from orthanc_al.errors import InferenceError, ModelError
from orthanc_al.inference import Models, Server
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.head_swap import read_head, swap_head
from orthanc_al.inference.preferred import AWAY_SECONDS, Preferred
from orthanc_al.inference.remote import RemoteScorer, http_client
from orthanc_al.inference.running import PARITY
from orthanc_al.inference.scorer import Scorer
from orthanc_al.inference.session import Session
from tests.support.inference_server import MLSERVER, OwnServer, mlserver
from tests.support.tiny_package import tiny_model, tiny_package

Remote = Callable[..., RemoteScorer]
MODEL = tiny_model(findings=2, name="film")
WAYS = [
    "here",
    "batched",
    "server, JSON",
    "server, binary",
    *(["MLServer"] if MLSERVER in os.environ else []),
]


def batch(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 1, 32, 32)).astype(np.float32)


@pytest.fixture(autouse=True)
def client() -> Iterator[httpx.Client]:
    with http_client() as made:
        yield made


@pytest.fixture
def remote(client: httpx.Client) -> Remote:
    def make(url: str, model: bytes = MODEL, timeout: float = 5.0) -> RemoteScorer:
        return RemoteScorer(url, "tiny", "film", *read_head(model), client, timeout)

    return make


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlserver(tmp_path_factory.mktemp("mlserver"), "tiny", MODEL) as url:
        yield url


@pytest.fixture(params=WAYS)
def scorer(request: pytest.FixtureRequest, remote: Remote) -> Iterator[Scorer]:
    if request.param == "here":
        yield Session(MODEL)
    elif request.param == "batched":
        yield Batcher(Session(MODEL), 8)
    elif request.param == "MLServer":
        yield remote(request.getfixturevalue("real_server"))
    else:
        with OwnServer("tiny", MODEL, binary=request.param.endswith("binary")) as server:
            yield remote(server.url)


@pytest.mark.parametrize("n", [1, 5])
def test_the_outputs_are_those_of_the_network_for_any_batch(scorer: Scorer, n: int) -> None:
    wanted, got = Session(MODEL).run(batch(n)), scorer.run(batch(n))
    for name in ("logits", "embedding", "feature_map"):
        one, other = getattr(wanted, name), getattr(got, name)
        assert one.shape == other.shape
        assert other.dtype == np.float32
        assert np.allclose(one, other, atol=1e-5)


def test_what_is_not_finite_is_told(scorer: Scorer) -> None:
    with pytest.raises(ModelError):
        scorer.run(batch(1) * np.nan)


def test_a_batch_that_does_not_fit_is_told_and_the_next_one_is_run(scorer: Scorer) -> None:
    with pytest.raises(ModelError):
        scorer.run(np.zeros((1, 3, 32, 32), np.float32))
    assert scorer.run(batch(1)).logits.shape == (1, 2)


def test_it_says_what_it_runs_on(scorer: Scorer) -> None:
    assert scorer.provider.startswith(("CPUExecutionProvider", "http://127.0.0.1:"))


@pytest.fixture(params=[False, True], ids=["JSON", "binary"])
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with OwnServer("tiny", MODEL, binary=request.param) as running:
        yield running


FAULTS = [
    "garbage",
    "another document",
    "no",
    "slow",
    "hangs up",
    "wrong shape",
    "not finite",
    "lacks an output",
    "claims more",
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves_is_told_of_and_the_local_model_stands_in(
    server: OwnServer, remote: Remote, fault: str
) -> None:
    there = remote(server.url, timeout=0.3)
    server.fault = fault
    with pytest.raises(InferenceError) as told:
        there.run(batch(2))
    assert told.value.retryable
    assert server.url in str(told.value) or "inference server" in str(told.value)

    clock = iter(range(0, 10_000, 100))
    preferred = Preferred(there, Session(MODEL), batch(2), PARITY, clock=lambda: float(next(clock)))
    assert np.array_equal(preferred.run(batch(2)).logits, Session(MODEL).run(batch(2)).logits)
    assert preferred.provider.startswith("CPUExecutionProvider, since ")
    server.fault = ""
    preferred.run(batch(2))
    assert preferred.provider == there.provider


def test_a_server_that_is_away_is_left_alone_for_a_while(server: OwnServer, remote: Remote) -> None:
    time = [0.0]
    server.fault = "no"
    preferred = Preferred(remote(server.url), Session(MODEL), batch(1), PARITY, clock=lambda: time[0])
    for _ in range(3):
        preferred.run(batch(1))
    assert server.answered == 1
    time[0] = AWAY_SECONDS
    preferred.run(batch(1))
    assert server.answered == 2


def test_without_a_fallback_the_reason_is_raised_to_be_tried_again(server: OwnServer, remote: Remote) -> None:
    server.fault = "no"
    preferred = Preferred(remote(server.url), Session(MODEL), batch(1), PARITY, fallback=False)
    for _ in range(2):  # asked, then left alone
        with pytest.raises(InferenceError, match="the GPU is on fire") as told:
            preferred.run(batch(1))
        assert told.value.retryable
    assert preferred.provider.startswith("nothing, since ")


def test_nobody_there_and_another_model_are_told(remote: Remote) -> None:
    with pytest.raises(InferenceError, match="is not reached"):
        remote("http://127.0.0.1:9").run(batch(1))
    with OwnServer("other", MODEL, binary=True) as other, pytest.raises(InferenceError, match="answers 404"):
        remote(other.url).run(batch(1))


def test_a_server_with_other_weights_never_gives_a_result(server: OwnServer, remote: Remote) -> None:
    server.fault = "other weights"
    here = Session(MODEL)
    preferred = Preferred(remote(server.url), here, batch(4), PARITY)
    assert np.array_equal(preferred.run(batch(2)).logits, here.run(batch(2)).logits)
    assert "can't stand for" in preferred.provider


def test_a_new_head_needs_nothing_of_the_server(server: OwnServer, remote: Remote) -> None:
    weight, bias = read_head(MODEL)
    swapped = swap_head(MODEL, weight * 2.0, bias + 1.0)
    preferred = Preferred(remote(server.url, swapped), Session(swapped), batch(4), PARITY, fallback=False)
    assert np.allclose(preferred.run(batch(2)).logits, Session(swapped).run(batch(2)).logits, atol=1e-5)


def test_a_folder_of_models_is_run_on_the_server(tmp_path: Path) -> None:
    package = tiny_package(tmp_path / "package")
    with OwnServer("tiny", package.contents.model, binary=True) as server:
        models = Models(server=Server(server.url))
        models.get(package.folder, package.ref).session.run(batch(1))
        assert server.answered == 2  # the proof, and the run
        assert models.providers() == {"tiny": f"{server.url} (tiny)"}
        models.close()
