"""A night that trains the whole network: then all history is embedded anew, heads fitted, and the gate asked.

The gate is the same: champion and factory answer by their own networks, the candidate by what ONNX Runtime
gives with the very file that would go live. Cases whose input the training cache does not have can't be
embedded anew, and are in none of it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from orthanc_al.errors import PackageRefusedError
from orthanc_al.inference.contents import PackageContents
from orthanc_al.inference.head_swap import read_head, swap_head
from orthanc_al.inference.package import ModelPackage
from orthanc_al.learn.finding_model import FindingModel, finding_models
from orthanc_al.learn.finetune.embedding import Inputs, embedded, factory_logits, with_inputs
from orthanc_al.learn.finetune.examples import Examples, cached_inputs, examples_of, validates
from orthanc_al.learn.finetune.factory_films import factory_examples
from orthanc_al.learn.finetune.start import Start
from orthanc_al.learn.finetune.training import Recipe, Trainer
from orthanc_al.learn.fit import Guarantee, recalibrate, refit, set_borders
from orthanc_al.learn.gate import judge
from orthanc_al.learn.judgement import GateCases, Judgement, Scores, Training, Verdict
from orthanc_al.learn.night import Night
from orthanc_al.learn.pccp import Plan
from orthanc_al.learn.proposals import FindingResult, Proposal, subgroups_of
from orthanc_al.learn.registry import make_package, version_of
from orthanc_al.learn.snapshot import Role, Snapshot
from orthanc_al.ledger.history import HistoryEmbedding
from orthanc_al.observe import logger

NETWORK: Final = "network"

_log = logger("learn")


class FineTuning:
    """Makes a candidate with a network of its own.

    Parameters
    ----------
    folder, cache
        ``storage.models`` and ``storage.training_cache``.
    guarantee, plan
        What the tiers promise; what may change, and by how much.
    factory_data
        Folder of the factory's radiographs, to be trained on beside the site's; None for none.
    console
        For the progress bar; None for none.
    recipe
        How it is trained.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        guarantee: Guarantee,
        plan: Plan,
        *,
        factory_data: Path | None = None,
        console: Console | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._guarantee = guarantee
        self._plan = plan
        self._factory_data = factory_data
        self._console = console
        self._recipe = recipe or Recipe()

    def version(self, start: Start) -> str:
        """Return what the version of this night's candidate begins with: the same inputs, the same beginning.

        What it ends with is of the network's bytes, which a GPU need not give twice: a night that ended after
        its package was written, and before the ledger knew it, must not stand in the next one's way.
        """
        studies = {case.study_instance_uid for case in start.snapshot.cases}
        cached = sorted((*key, name) for key, name in start.files.items() if key[0] in studies)
        plan = f"{self._plan.model_dump_json()}|{self._recipe}|{self._factory_data}|{cached}"
        return version_of(
            start.snapshot, start.factory.ref, start.champion.ref, self._guarantee, plan
        ).replace(".site.", ".network.")

    def night(self, start: Start) -> Night | None:
        """Train, embed, fit and judge; None where there is nothing to judge, which the log tells.

        That is where the training cache has too little, where the network is in half precision, and where
        training gained nothing on the patients who are not trained on: a new head on the network that is live
        is then all there is to gain.

        Raises
        ------
        ModelError
            The network has operators that can't be trained.
        """
        size = start.champion.manifest.preprocessing.size
        inputs = cached_inputs(self._cache, start.files, start.snapshot.cases, size)
        old = with_inputs(start.snapshot, inputs)
        findings = [entry.name for entry in start.champion.manifest.findings]
        examples = examples_of(old, findings, inputs, size)
        lacks = _halved(start.champion) or _pooled(start.champion) or self._lacks(examples)
        if lacks:
            _log.warning(
                "not_fine_tuned",
                model=str(start.champion.ref),
                reason=lacks,
                cases=len(start.snapshot.cases),
                cached=len(inputs),
            )
            return None
        version = self.version(start)
        model = self._train(start, examples, version)
        if model is None:
            _log.info("network_gained_nothing", model=start.champion.ref.name, version=version)
            return None
        version = f"{version}.{hashlib.sha256(model).hexdigest()[:6]}"
        new, domain = embedded(old, inputs, model, start.champion.contents.domain is not None)
        results, models = self._judge(start, old, new, model, inputs)
        verdict = _together(results)
        night = Night(
            start.champion, start.factory, old, version, results, verdict, "", None, start.time, "finetuned"
        )
        return self._packaged(
            night, new, replace(start.champion.contents, model=model, domain=domain), models
        )

    def checkpoint(self, name: str) -> Path:
        """Return where an interrupted training of a model goes on from."""
        return self._folder / name / "finetune.pt"

    def _lacks(self, examples: Examples) -> str:
        """Return what is missing to train on, empty where nothing is."""
        labels = self._plan.labels
        trains = examples.labels[~examples.validation]
        enough = ((trains == 1).sum(0) >= labels.min_positives) & (
            (trains == 0).sum(0) >= labels.min_negatives
        )
        if enough.any() and np.isfinite(examples.labels[examples.validation]).any():
            return ""
        return (
            f"{len(examples.labels)} labelled training images are in the training cache; it takes "
            f"{labels.min_positives} positive, {labels.min_negatives} negative, and some to tell when to stop"
        )

    def _train(self, start: Start, examples: Examples, version: str) -> bytes | None:
        """Return the trained network, None where no epoch was better than what it started from."""
        if self._factory_data is not None:
            examples = examples + factory_examples(
                self._factory_data, start.champion.manifest, share_of=len(examples.labels)
            )
        checkpoint = self.checkpoint(start.champion.ref.name)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(_fitted_first(start), examples, self._recipe)
        model = trainer.run(checkpoint, f"{start.champion.ref.digest} {version}", self._console)
        return model if trainer.gained else None

    def _judge(
        self, start: Start, old: Snapshot, new: Snapshot, model: bytes, inputs: Inputs
    ) -> tuple[tuple[FindingResult, ...], list[FindingModel]]:
        weight, bias = read_head(model)
        lives, origins = finding_models(start.champion), finding_models(start.backbone)
        results, models = [], []
        for k, (live, origin) in enumerate(zip(lives, origins, strict=True)):
            trained = replace(live, weight=weight[:, k], bias=bias[k], covariance=None)
            fitted = recalibrate(new, refit(new, trained), origin)
            audit = old.select(live.name, Role.CALIBRATION)
            before = origin.probabilities(audit.embeddings) if audit.rows else np.empty(0)
            candidate = set_borders(new, fitted, origin, self._guarantee, before=before)
            factory = factory_logits(start, old.select(live.name, Role.GATE).rows, live.name, inputs)
            cases = _gate_cases(old, new, candidate, live, origin, factory)
            judgement = self._asked(old, live.name, cases)
            models.append(candidate)
            chosen = candidate if judgement.verdict is Verdict.BETTER else live
            results.append(FindingResult(chosen, (Proposal(NETWORK, candidate, judgement),)))
        return tuple(results), models

    def _asked(self, old: Snapshot, finding: str, cases: GateCases) -> Judgement:
        train = old.select(finding, Role.TRAIN)
        training = Training(
            positives=train.positives,
            negatives=train.negatives,
            patients=frozenset(case.patient_key for case in train.rows),
            audit_overlap=old.audit_overlap,
            new_head=True,
        )
        return judge(training, cases, self._plan)

    def _packaged(
        self, night: Night, new: Snapshot, base: PackageContents, models: Sequence[FindingModel]
    ) -> Night:
        history = [
            HistoryEmbedding(case.study_instance_uid, case.finding, case.embedding, case.ood)
            for case in new.cases
        ]
        made, refusal, verdict = None, "", night.verdict
        if verdict is Verdict.BETTER:
            try:
                made = make_package(
                    self._folder / night.champion.ref.name / night.version,
                    night.champion,
                    models,
                    new,
                    night.version,
                    parity=self._plan.gate.parity,
                    base=base,
                )
            except PackageRefusedError as error:
                verdict, refusal = Verdict.REFUSED, str(error)
        self.checkpoint(night.champion.ref.name).unlink(missing_ok=True)
        return replace(night, made=made, refusal=refusal, verdict=verdict, history=history if made else ())


def _halved(package: ModelPackage) -> str:
    """Return why a package's weights can't take a step of training, empty where they can."""
    if package.manifest.run.precision == "fp32":
        return ""
    return (
        "its weights are in half precision, which loses what a step of training adds. Promote the float32 "
        "package that it was made from, `orthanc-al retrain --finetune`, and make the variant of what comes "
        "of it (`orthanc-al models fp16`)"
    )


def _pooled(package: ModelPackage) -> str:
    """Return why a package's network can't learn from the image that decided a study, empty where it can."""
    how: str = package.manifest.aggregation
    return "" if how == "max" else f"its studies are pooled over all images (aggregation = {how!r})"


def _fitted_first(start: Start) -> bytes:
    """Return the network with heads fitted to this site: a wrong head spoils the features that it trains.

    Kumar et al., Fine-tuning can distort pretrained features and underperform out-of-distribution, ICLR 2022.
    Who tells when to stop is left out: with heads fitted to her no epoch would ever beat the start.
    """
    trains = without_validation(start.snapshot)
    heads = [refit(trains, origin) for origin in finding_models(start.backbone)]
    weight = np.stack([head.weight for head in heads], axis=1)
    return swap_head(start.champion.contents.model, weight, np.array([head.bias for head in heads]))


def _together(results: Sequence[FindingResult]) -> Verdict:
    """Return the verdict on a network: it changes all findings, so each has to be better by it."""
    order = (Verdict.REFUSED, Verdict.NOT_ENOUGH, Verdict.NOT_BETTER, Verdict.BETTER)
    verdicts = {result.verdict for result in results}
    return next(verdict for verdict in order if verdict in verdicts)


def without_validation(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with nobody in training who tells when to stop."""
    roles = tuple(
        Role.LEFT_OUT if role is Role.TRAIN and validates(case.patient_key) else role
        for case, role in zip(snapshot.cases, snapshot.roles, strict=True)
    )
    return replace(snapshot, roles=roles)


def _gate_cases(
    old: Snapshot,
    new: Snapshot,
    candidate: FindingModel,
    live: FindingModel,
    origin: FindingModel,
    factory: NDArray[np.float64] | None,
) -> GateCases:
    before, after = old.select(live.name, Role.GATE), new.select(live.name, Role.GATE)

    def scores(model: FindingModel, logits: NDArray[np.float64]) -> Scores:
        return Scores(logits, model.calibrator.probability(logits), model.borders.operating)

    anchor = origin.logits(before.embeddings) if factory is None else factory
    return GateCases(
        labels=before.labels,
        patients=tuple(case.patient_key for case in before.rows),
        candidate=scores(candidate, candidate.logits(after.embeddings)),
        champion=scores(live, live.logits(before.embeddings)),
        anchor=scores(origin, anchor),
        subgroups=subgroups_of(before.rows),
    )
