"""Fine-tuning of the whole network: on a GPU where there is one, in mixed precision where that pays.

The weights are drawn towards those that they start from (L2-SP: Li, Grandvalet & Davoine, Explicit inductive
bias for transfer learning, ICML 2018), since a site has hundreds of films, not thousands. A fifth of the
patients tells when to stop. After each epoch all that a resumed run needs is on disk.
"""

import contextlib
import math
import pickle
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional

from orthanc_al.learn.finetune.examples import Examples
from orthanc_al.learn.finetune.onnx_network import OnnxNetwork
from orthanc_al.observe import logger

_UNREADABLE: Final = (OSError, RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError)
_log = logger("learn")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the outcome depends on, beside data and network.

    Attributes
    ----------
    epochs, patience
        Most passes over the films, and passes without a better validation after which it ends.
    batch
        Films a step.
    rate
        Of AdamW, at its peak: it rises over the first pass, and falls as half a cosine.
    hold
        Strength of the draw towards the weights at the start (L2-SP).
    """

    seed: int = 0
    epochs: int = 20
    patience: int = 4
    batch: int = 32
    rate: float = 5e-5
    hold: float = 0.01


class Trainer:
    """A network in training, with the state that a resumed run needs.

    Parameters
    ----------
    model
        Bytes of the ``model.onnx`` to start from.
    examples
        What it is trained on; rows of its validation never change a weight.
    device
        ``cpu`` or ``cuda``; found where it is left out.
    """

    def __init__(self, model: bytes, examples: Examples, recipe: Recipe, device: str = "") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.examples = recipe, examples
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = OnnxNetwork(model).to(self.device)
        self.start = [weight.detach().clone() for weight in self.network.weights]
        self.optimiser = torch.optim.AdamW(self.network.parameters(), recipe.rate, weight_decay=0.0)
        self.precision = mixed_precision(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        self.epoch, self.best_loss, self.best_epoch = 0, math.inf, 0
        self.best: dict[str, Tensor] = self._weights()

    def run(self, checkpoint: Path, made_of: str, console: Console | None) -> bytes:
        """Train to the end, from the checkpoint where there is one, and return the best ``model.onnx``.

        That is what it started from where no epoch was better (`gained`).

        Parameters
        ----------
        checkpoint
            A file; it is left behind, for the caller to remove once the package is written.
        made_of
            What a checkpoint must agree on to be continued.
        console
            For the progress bar; None for none.
        """
        self._resume(checkpoint, made_of)
        if self.epoch == 0:
            self.best_loss = self._validate()  # what it starts from has to be beaten
        with _progress(console) as progress:
            task = progress.add_task(
                f"fine-tuning on {self.device}",
                total=self.recipe.epochs,
                completed=self.epoch,
                loss=self.best_loss,
            )
            while not self._done():
                self._one_epoch()
                self._judge()
                self._save(checkpoint, made_of)
                progress.update(task, completed=self.epoch, loss=self.best_loss)
        self.network.load_state_dict(self.best)
        return self.network.to_onnx()

    @property
    def gained(self) -> bool:
        """Whether an epoch was better than the start on those who are not trained on."""
        return self.best_epoch > 0

    def _done(self) -> bool:
        return self.epoch >= self.recipe.epochs or self.epoch - self.best_epoch >= self.recipe.patience

    def _judge(self) -> None:
        """Note whether this epoch is the best yet."""
        loss = self._validate()
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best = loss, self.epoch, self._weights()
        _log.info("epoch_done", epoch=self.epoch, loss=round(loss, 4), best=round(self.best_loss, 4))

    def _one_epoch(self) -> None:
        self.network.train()
        rng = np.random.default_rng((self.recipe.seed, self.epoch))
        noise = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.epoch)
        rows = rng.permutation(np.flatnonzero(~self.examples.validation))
        groups = np.array_split(rows, max(1, math.ceil(len(rows) / self.recipe.batch)))
        for step, group in enumerate(groups):
            progress = (self.epoch + step / len(groups)) / self.recipe.epochs
            rise = min(1.0, self.epoch + (step + 1) / len(groups))
            fall = 0.5 * (1.0 + math.cos(math.pi * progress))
            self.optimiser.param_groups[0]["lr"] = self.recipe.rate * rise * fall
            loss = self._loss(group, noise) + self._held()
            self.optimiser.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimiser)
            self.scaler.update()
        self.epoch += 1

    def _loss(self, rows: NDArray[np.int64], noise: torch.Generator | None) -> Tensor:
        """Return the weighted mean cross-entropy of what was said; with noise, of changed films."""
        films = torch.from_numpy(self.examples.inputs[rows].astype(np.float32))
        if noise is not None:
            films = changed(films, noise)
        logits = self._logits(films.to(self.device))
        labels = torch.from_numpy(self.examples.labels[rows]).to(self.device)
        said = ~torch.isnan(labels)
        weights = said * torch.from_numpy(self.examples.weights[rows]).to(self.device)[:, None]
        each = functional.binary_cross_entropy_with_logits(logits, labels.nan_to_num(), reduction="none")
        return (each * weights).sum() / weights.sum().clamp_min(1e-9)

    def _logits(self, films: Tensor) -> Tensor:
        mixed = (
            contextlib.nullcontext()
            if self.precision is None
            else torch.autocast(self.device.type, self.precision)
        )
        with mixed:
            logits, _, _ = self.network(films.contiguous(memory_format=torch.channels_last))
        return torch.as_tensor(logits.float())

    def _held(self) -> Tensor:
        """Return the penalty on the way from the start."""
        away = [
            ((now - start) ** 2).sum() for now, start in zip(self.network.weights, self.start, strict=True)
        ]
        return torch.as_tensor(0.5 * self.recipe.hold * torch.stack(away).sum())

    def _validate(self) -> float:
        """Return the cross-entropy of the rows that are not trained on, unchanged."""
        self.network.eval()
        rows = np.flatnonzero(self.examples.validation)
        losses, counts = [], []
        with torch.inference_mode():
            for start in range(0, len(rows), 128):
                part = rows[start : start + 128]
                losses.append(float(self._loss(part, None)))
                counts.append(
                    float((~np.isnan(self.examples.labels[part]) * self.examples.weights[part, None]).sum())
                )
        return float(np.average(losses, weights=counts)) if sum(counts) else math.inf

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _save(self, checkpoint: Path, made_of: str) -> None:
        state = {
            "made_of": self._key(made_of),
            "network": self.network.state_dict(),
            "best": self.best,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": [self.epoch, self.best_epoch, self.best_loss],
        }
        unfinished = checkpoint.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(checkpoint)

    def _resume(self, checkpoint: Path, made_of: str) -> None:
        """Go on from a checkpoint; one of other data, or a damaged one, is left alone, and told."""
        if not checkpoint.is_file():
            return
        try:
            state: dict[str, Any] = torch.load(checkpoint, map_location=self.device, weights_only=True)
            if state["made_of"] != self._key(made_of):
                _log.info("checkpoint_of_other_data", checkpoint=str(checkpoint))
                return
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
            self.best = state["best"]
            self.epoch, self.best_epoch, self.best_loss = state["progress"]
        except _UNREADABLE as error:
            _log.warning("checkpoint_not_read", checkpoint=str(checkpoint), reason=type(error).__name__)
            return
        _log.info("fine_tuning_goes_on", epoch=self.epoch)

    def _key(self, made_of: str) -> str:
        return f"{made_of} {self.examples.digest()} {asdict(self.recipe)}"


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Return the type of mixed precision that pays on a device, None where none does.

    On a processor without instructions for bfloat16 it costs time instead.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else None


def changed(films: Tensor, noise: torch.Generator) -> Tensor:
    """Return model inputs (n, 1, s, s) as another positioning and exposure would have given them."""
    count = len(films)

    def drawn(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=noise)

    angle, zoom = drawn(-0.14, 0.14), drawn(0.9, 1.1)
    mirror = torch.where(torch.rand(count, generator=noise) < 0.5, -1.0, 1.0)
    rows = torch.stack(
        [
            torch.stack([mirror * zoom * angle.cos(), -zoom * angle.sin(), drawn(-0.08, 0.08)], 1),
            torch.stack([mirror * zoom * angle.sin(), zoom * angle.cos(), drawn(-0.08, 0.08)], 1),
        ],
        1,
    )
    grid = functional.affine_grid(rows, list(films.shape), align_corners=False)
    moved = functional.grid_sample(films, grid, padding_mode="border", align_corners=False)
    gain, offset = drawn(0.8, 1.25)[:, None, None, None], drawn(-0.2, 0.2)[:, None, None, None]
    grain = drawn(0.0, 0.1)[:, None, None, None] * torch.randn(moved.shape, generator=noise)
    return moved * gain + offset + grain


@contextlib.contextmanager
def _progress(console: Console | None) -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs, validation loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
        console=console,
        disable=console is None,
    ) as progress:
        yield progress
