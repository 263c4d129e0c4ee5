"""Training the factory's network from scratch, on a processor, in minutes."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from orthanc_al.domain.preprocessing import PreprocessingSpec
from orthanc_al.imaging.preprocess import preprocess
from orthanc_al.learn.factory.augment import random_film
from orthanc_al.learn.factory.dataset import SUBTYPES, FilmSet
from orthanc_al.learn.factory.junk import random_junk
from orthanc_al.learn.factory.network import Network

Batch = tuple[NDArray[np.float32], NDArray[np.bool_]]
"""Model inputs (n, 1, s, s), and which of them are junk (n,)."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the outcome depends on, beside the data.

    Attributes
    ----------
    epochs, batch
        Passes over the films, and films a step.
    peak_rate, weight_decay
        Of AdamW (Loshchilov & Hutter, ICLR 2019); the rate rises for ``warmup`` of the steps and
        falls as a cosine.
    smoothing
        Labels become ``smoothing`` and 1 - ``smoothing``: some labels of the source are wrong.
    subtype_weight
        Weight of the second task, bacterial against viral: it keeps more in the embedding than the
        one bit of the finding, which later heads need. Junk is one more class of this task.
    junk_share
        Share of the films of an epoch that are shown as junk, with no say about the finding.
    average_decay
        Of the moving average of the weights (Polyak & Juditsky, 1992), a step.
    """

    seed: int = 0
    epochs: int = 22
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    smoothing: float = 0.03
    subtype_weight: float = 0.3
    junk_share: float = 0.08
    average_decay: float = 0.9975
    strides: tuple[int, ...] = (1, 2, 2, 1)


class Trainer:
    """Network, its moving average and optimiser, with the state that a resumed run needs.

    Parameters
    ----------
    films
        The training films; never those that calibrate or judge.
    spec
        The preprocessing; scoring does the same.
    """

    def __init__(self, films: FilmSet, spec: PreprocessingSpec, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.films, self.spec, self.recipe = films, spec, recipe
        self.network = Network(1, strides=recipe.strides)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        self.subtype_head = nn.Linear(self.network.head.in_features, len(SUBTYPES) + 1)
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay), use_buffers=True
        )
        parameters = [*self.network.parameters(), *self.subtype_head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, recipe.peak_rate, weight_decay=recipe.weight_decay)
        self.epoch = 0

    def run(self, checkpoint: Path, console: Console) -> Network:
        """Train to the end, from the checkpoint where there is one, and return the averaged network."""
        self._resume(checkpoint)
        with _progress(console) as progress:
            task = progress.add_task(
                "training", total=self.recipe.epochs, completed=self.epoch, loss=float("nan")
            )
            while self.epoch < self.recipe.epochs:
                loss = self._one_epoch()
                self._save(checkpoint)
                progress.update(task, completed=self.epoch, loss=loss)
        network = self.average.module
        assert isinstance(network, Network)
        return network.eval()

    def _one_epoch(self) -> float:
        """Show every film once; return the mean loss."""
        self.network.train()
        order = np.random.default_rng((self.recipe.seed, self.epoch)).permutation(len(self.films))
        steps = len(order) // self.recipe.batch
        total = 0.0
        groups = np.split(order[: steps * self.recipe.batch], steps)
        for step, (rows, (images, junk)) in enumerate(zip(groups, self._batches(groups), strict=True)):
            progress = (self.epoch + step / steps) / self.recipe.epochs
            self.optimiser.param_groups[0]["lr"] = learning_rate(self.recipe, progress)
            total += self._step(rows, images, junk)
        self.epoch += 1
        return total / steps

    def _step(self, rows: NDArray[np.int64], images: NDArray[np.float32], junk: NDArray[np.bool_]) -> float:
        inputs = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            logits, embedding, _ = self.network(inputs)
            subtype_logits = self.subtype_head(embedding)
        loss = self._loss(logits.float()[:, 0], subtype_logits.float(), rows, junk)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.average.update_parameters(self.network)
        return float(loss.detach())

    def _loss(
        self, logits: Tensor, subtype_logits: Tensor, rows: NDArray[np.int64], junk: NDArray[np.bool_]
    ) -> Tensor:
        """Cross-entropy of the finding on films, and of the subtype on films and junk."""
        smoothing = self.recipe.smoothing
        target = torch.from_numpy(self.films.labels[rows]) * (1 - 2 * smoothing) + smoothing
        film = torch.from_numpy(~junk).float()
        finding = nn.functional.binary_cross_entropy_with_logits(logits, target.float(), film)
        subtype = torch.from_numpy(np.where(junk, len(SUBTYPES), self.films.subtypes[rows]))
        return finding + self.recipe.subtype_weight * nn.functional.cross_entropy(subtype_logits, subtype)

    def _batches(self, groups: list[NDArray[np.int64]]) -> Iterator[Batch]:
        """Yield the groups' batches, prepared while the steps before are computed."""
        with ThreadPoolExecutor(2) as pool:
            waiting = deque(pool.submit(self._augmented, rows) for rows in groups[:3])
            ahead = iter(groups[3:])
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(self._augmented, rows) for rows in islice(ahead, 1))

    def _augmented(self, rows: NDArray[np.int64]) -> Batch:
        """Return the rows as this epoch shows them; each has its own stream of random numbers."""
        images, junk = [], []
        for row in rows:
            rng = np.random.default_rng((self.recipe.seed, self.epoch, int(row)))
            junk.append(rng.random() < self.recipe.junk_share)
            film = random_junk(self.films.images[row], rng) if junk[-1] else self.films.images[row]
            images.append(preprocess(random_film(film, rng), self.spec))
        return np.stack(images), np.array(junk)

    def _resume(self, checkpoint: Path) -> None:
        if not checkpoint.is_file():
            return
        state = torch.load(checkpoint, weights_only=True)
        if state["made_of"] != self._made_of():
            return
        self.network.load_state_dict(state["network"])
        self.subtype_head.load_state_dict(state["subtype_head"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch = state["epoch"]

    def _save(self, checkpoint: Path) -> None:
        state = {
            "made_of": self._made_of(),
            "network": self.network.state_dict(),
            "subtype_head": self.subtype_head.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch,
        }
        unfinished = checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(checkpoint)

    def _made_of(self) -> str:
        """Return what a checkpoint must agree on to be continued."""
        return f"{self.films.digest()} {asdict(self.recipe)} {asdict(self.spec)}"


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Return the rate at ``progress`` (0 to 1): a linear rise, then half a cosine to 1 % of the peak."""
    if progress < recipe.warmup:
        return recipe.peak_rate * (0.02 + 0.98 * progress / recipe.warmup)
    fall = (progress - recipe.warmup) / (1.0 - recipe.warmup)
    return recipe.peak_rate * float(0.01 + 0.99 * 0.5 * (1.0 + np.cos(np.pi * fall)))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=console,
    )
