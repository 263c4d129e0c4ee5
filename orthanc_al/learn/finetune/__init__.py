"""Fine-tuning of the whole network (the extra ``finetune``): torch is imported where it is asked for."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orthanc_al.errors import ConfigurationError
from orthanc_al.learn.fit import Guarantee
from orthanc_al.learn.pccp import Plan

if TYPE_CHECKING:
    from orthanc_al.learn.finetune.night import FineTuning
    from orthanc_al.learn.finetune.training import Recipe


def fine_tuning(
    folder: Path,
    cache: Path,
    guarantee: Guarantee,
    plan: Plan,
    *,
    factory_data: Path | None = None,
    console: Console | None = None,
    recipe: "Recipe | None" = None,
) -> "FineTuning":
    """Return what makes a candidate with a network of its own; parameters as it takes them.

    Raises
    ------
    ConfigurationError
        torch is not installed, or the plan of changes does not let the network change.
    """
    if "network" not in plan.change.may:
        raise ConfigurationError(
            'The plan of changes does not let the network change: add "network" to change.may (learn.pccp).'
        )
    if find_spec("torch") is None:
        raise ConfigurationError("fine-tuning needs torch: install with pip install 'orthanc-al[finetune]'")
    # As for the factory: threads that wait in a loop take the cores from everybody else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from orthanc_al.learn.finetune.night import FineTuning  # noqa: PLC0415 - torch is an extra

    return FineTuning(
        folder, cache, guarantee, plan, factory_data=factory_data, console=console, recipe=recipe
    )
