"""Packages that are loaded and ready: a promotion is taken up by asking for the new digest."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from orthanc_al.domain import ModelRef
from orthanc_al.errors import ModelError, PackageRefusedError, ProviderError
from orthanc_al.inference.batcher import Batcher
from orthanc_al.inference.head_swap import read_head
from orthanc_al.inference.package import ModelPackage, load_package
from orthanc_al.inference.preferred import Preferred
from orthanc_al.inference.reference import probes_for, recorded
from orthanc_al.inference.remote import RemoteScorer, http_client
from orthanc_al.inference.scorer import Scorer, prove
from orthanc_al.inference.session import CPU, CUDA, TENSORRT, Session
from orthanc_al.inference.sizes import LARGEST, Filled, FixedSizes, sizes_up_to
from orthanc_al.observe import logger

PARITY: Final = 0.04
"""Largest difference of a logit between two ways of running a network: a score moves by 0.01 at most."""

_KEPT: Final = 2  # versions of a model: studies that were scored by the last one are still on their way
_BATCH: Final = 8  # images a run on the CPU
DEVICES: Final = {"cpu": CPU, "cuda": CUDA, "tensorrt": TENSORRT}
"""Execution providers by the manifest's word for them."""

_Local = Session | FixedSizes
"""What runs a network in this process: on a GPU, batches of fixed sizes."""

_log = logger("inference")


@dataclass(frozen=True, slots=True)
class Server:
    """An inference server, and what happens while it is away; see `RemoteScorer` and `Preferred`."""

    url: str
    timeout: float = 5.0
    fallback: bool = True


@dataclass(frozen=True, slots=True)
class RunningModel:
    """A verified package and what runs it.

    Attributes
    ----------
    session
        Runs its network; threads share it.
    head
        Weight of the last layer, shape (d, k): what class activation needs.
    """

    package: ModelPackage
    session: Scorer
    head: NDArray[np.float32]


class Models:
    """Loads packages when they are asked for, and keeps the last two of each name.

    While a new one is loaded and warmed up, the one before goes on: who has it in hand finishes with it.

    Parameters
    ----------
    threads, require_gpu
        As `Session` takes them.
    server
        Where the networks are run instead.
    without_gpu
        Why no GPU is to be used, though there may be one.
    """

    def __init__(
        self,
        threads: int = 1,
        *,
        require_gpu: bool = False,
        server: Server | None = None,
        without_gpu: str = "",
    ) -> None:
        self._threads = threads
        self._require_gpu = require_gpu
        self.without_gpu = without_gpu
        self._server = server
        self._client = http_client() if server is not None else None
        self._lock = threading.Lock()
        self._loading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._running: dict[str, dict[str, RunningModel]] = {}  # by name, then by digest, the latest last

    def get(self, folder: Path, ref: ModelRef) -> RunningModel:
        """Return the package ``ref`` from ``folder``, loading it where it does not run yet.

        Raises
        ------
        PackageRefusedError
            The folder holds another package than the ledger says, or its digests do not hold.
        ProviderError, ModelError, DeviceLostError
            As `Session`.
        """
        with self._lock:
            running = self._running.get(ref.name, {}).get(ref.digest)
            loading = self._loading[ref.name]
        if running is not None:
            return running
        with loading:  # others go on with what they have; who wants the same one waits for it
            with self._lock:
                running = self._running.get(ref.name, {}).get(ref.digest)
            return running or self._keep(ref, self._load(folder, ref))

    def close(self) -> None:
        """Close the connections to the server."""
        if self._client is not None:
            self._client.close()

    def _keep(self, ref: ModelRef, running: RunningModel) -> RunningModel:
        with self._lock:
            kept = {**self._running.get(ref.name, {}), ref.digest: running}
            self._running[ref.name] = dict(list(kept.items())[-_KEPT:])
        return running

    def providers(self) -> dict[str, str]:
        """Return what each model really runs on, by its name."""
        since = f", since {self.without_gpu}" if self.without_gpu else ""
        with self._lock:
            latest = {name: list(versions.values())[-1] for name, versions in self._running.items()}
        return {name: f"{model.session.provider}{since}" for name, model in latest.items()}

    def _load(self, folder: Path, ref: ModelRef) -> RunningModel:
        package = load_package(folder)
        if package.ref.digest != ref.digest:
            raise PackageRefusedError(
                f"{folder} holds {package.ref}, and the ledger says {ref}: restore the package, or promote "
                "another one (`orthanc-al models list`)"
            )
        weight, bias = read_head(package.contents.model)
        local = self._local(package)
        scorer: Scorer = local
        if self._server is not None and self._client is not None:
            remote = RemoteScorer(
                self._server.url, ref.name, local.input_name, weight, bias, self._client, self._server.timeout
            )
            scorer = Preferred(
                remote, local, probes_for(package.manifest), PARITY, fallback=self._server.fallback
            )
        local.run(probes_for(package.manifest)[:1])  # warm: the first study does not pay for it
        return RunningModel(package, Batcher(scorer, _largest(package, local)), weight)

    def _local(self, package: ModelPackage) -> _Local:
        """Return what runs the network here, and whose results the package's thresholds hold for.

        Raises
        ------
        ProviderError
            There is none here.
        """
        run, model = package.manifest.run, package.contents.model
        local = self._best(package)
        wanted, reference = DEVICES[run.thresholds_on], recorded(package)
        if run.precision == "fp16" and local.provider == CPU:
            _log.warning(
                "half_precision_on_cpu",
                model=str(package.ref),
                advice="it gains nothing: promote the float32 one",
            )
        if reference is not None:
            return self._proved(package, local, reference)
        if local.provider == wanted:
            return local
        if wanted != CPU:
            raise ProviderError(
                f"the thresholds of {package.ref} were computed on {wanted}, and ONNX Runtime runs on "
                f"{local.provider}: recompute them here (`orthanc-al retrain`), or run it there"
            )
        return self._proved(package, local, Session(model, self._threads, cpu=True))

    def _best(self, package: ModelPackage) -> _Local:
        """Return what runs the network on the best device that is here."""
        one = self._session(package)
        if one.provider == CPU:
            return one
        return FixedSizes(list(self._by_size(package, one)), one.input_name)

    def _by_size(self, package: ModelPackage, one: Session) -> Iterator[Filled]:
        """Yield what runs each size of batch, as far as the device's memory goes.

        Parameters
        ----------
        one
            Runs the smallest.
        """
        smallest, *others = sizes_up_to(package.manifest.run.batch or LARGEST)
        yield Filled(one, smallest)
        for size in others:
            try:
                filled = Filled(self._session(package), size)
                if filled.provider != one.provider:
                    raise ProviderError(f"ONNX Runtime would run it on {filled.provider}")
                filled.run(probes_for(package.manifest)[:1])
            except ModelError as error:
                _log.warning("batch_size_left_out", model=str(package.ref), images=size, error=str(error))
                return
            yield filled

    def _session(self, package: ModelPackage) -> Session:
        model, tensorrt = package.contents.model, package.manifest.run.tensorrt
        if not self.without_gpu:
            return Session(model, self._threads, require_gpu=self._require_gpu, tensorrt=tensorrt)
        if self._require_gpu:
            raise ProviderError(f"inference.require_gpu is set, and {self.without_gpu}")
        return Session(model, self._threads, cpu=True)

    def _proved(self, package: ModelPackage, local: _Local, reference: Scorer) -> _Local:
        """Return what gives what the reference gives, in each size of batch: this, else one on the CPU.

        Raises
        ------
        ProviderError
            Neither does, or the one is on a GPU that is required.
        """
        probes = probes_for(package.manifest)
        try:
            for one in _each(local):
                prove(reference, one, probes, PARITY)
        except ModelError as error:  # one that is not finite is no parity either
            told = f"{package.ref}: {error}"
            if self._require_gpu or local.provider == CPU:
                raise ProviderError(f"{told}. Promote another package (`orthanc-al models list`).") from error
            _log.error("provider_refused", model=str(package.ref), error=str(error))
        else:
            return local
        if isinstance(reference, Session):
            return reference
        return self._proved(package, Session(package.contents.model, self._threads, cpu=True), reference)


def _each(local: _Local) -> tuple[Scorer, ...]:
    return local.each if isinstance(local, FixedSizes) else (local,)


def _largest(package: ModelPackage, local: _Local) -> int:
    return local.largest if isinstance(local, FixedSizes) else package.manifest.run.batch or _BATCH
