"""Builds each part of the service from the settings."""

from collections.abc import Collection
from importlib.metadata import version
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.dicom import Peer
from orthanc_al.forward import Forwarder, clean
from orthanc_al.inference import ModelPackage, Models, load_package
from orthanc_al.learn import Guarantee, InputKeeper, RetrainStage, load_plan
from orthanc_al.ledger import Ledger, Stage, models
from orthanc_al.methods.urgency import Targets
from orthanc_al.orthanc import OrthancClient
from orthanc_al.pipeline import Step
from orthanc_al.receive import Archive, Listener, recover
from orthanc_al.report import MirrorStage, ReportStage
from orthanc_al.review import ReviewStage
from orthanc_al.score import ModelUse, ScoreImageStage, Scorer, ScoreStage
from orthanc_al.select import Budget, SelectStage
from orthanc_al.settings import Peer as PeerSettings
from orthanc_al.settings import Settings
from orthanc_al.spool import Spool
from orthanc_al.triage import TriageStage
from orthanc_al.web import create_app

ARCHIVE_AE = "ARCHIVE"
_DAY = 86400.0
_GB = 1e9


def ae(peer: PeerSettings) -> Peer:
    """Return a configured peer as the wire's side takes it."""
    return Peer(peer.name, peer.ae_title, peer.host, peer.port, peer.roles)


def spool(settings: Settings) -> Spool:
    """Return the spool."""
    return Spool(settings.storage.spool, int(settings.storage.min_free_gb * _GB))


def names(settings: Settings, role: str) -> tuple[str, ...]:
    """Return the names of the peers with a role."""
    return tuple(peer.name for peer in settings.dicom.peers if role in peer.roles)


def packages(settings: Settings) -> tuple[ModelPackage, ...]:
    """Return the configured model packages.

    Raises
    ------
    PackageRefusedError
        One does not hold.
    """
    return tuple(load_package(model.package) for model in settings.models)


def uses(settings: Settings) -> tuple[ModelUse, ...]:
    """Return which model is for which studies."""
    return tuple(
        ModelUse(load_package(model.package).ref.name, model.modality, model.body_part)
        for model in settings.models
    )


def targets(settings: Settings) -> Targets:
    """Return the tiers' target times."""
    return Targets(**settings.triage.target_minutes.model_dump())


def budget(settings: Settings) -> Budget:
    """Return how much may be asked of the radiologist."""
    return Budget(
        per_day=settings.review.budget_per_day,
        audit_fraction=settings.review.audit_fraction,
        expected_per_day=settings.review.expected_per_day,
        timezone=ZoneInfo(settings.site.timezone),
    )


def running_models(settings: Settings) -> Models:
    """Return what loads packages and keeps them."""
    return Models(settings.inference.threads, require_gpu=settings.inference.require_gpu)


def orthanc(settings: Settings) -> OrthancClient | None:
    """Return the client of Orthanc's REST API, None where none is configured."""
    if not settings.orthanc.url:
        return None
    return OrthancClient(
        settings.orthanc.url, settings.orthanc.username, settings.orthanc.password.get_secret_value()
    )


def rebuild_rows(settings: Settings, ledger: Ledger) -> int:
    """Add the rows of spool files that the ledger lacks; return how many."""
    return recover(spool(settings), ledger, names(settings, "destination"))


def listener(settings: Settings, ledger: Ledger) -> Listener:
    """Return the listener."""
    return Listener(
        ae_title=settings.dicom.ae_title,
        host=settings.dicom.host,
        port=settings.dicom.port,
        peers=[ae(peer) for peer in settings.dicom.peers],
        accept=settings.dicom.accept,
        spool=spool(settings),
        ledger=ledger,
        destinations=names(settings, "destination"),
        maximum_associations=settings.dicom.max_associations,
    )


def forwarder(settings: Settings, ledger: Ledger) -> Forwarder:
    """Return the forwarder, with all peers that get anything."""
    return Forwarder(
        ledger=ledger,
        spool=spool(settings),
        peers=[ae(peer) for peer in settings.dicom.peers if set(peer.roles) & {"destination", "results"}],
        calling_ae=settings.dicom.ae_title,
    )


def clean_spool(settings: Settings, ledger: Ledger) -> int:
    """Keep the model inputs that learning may want, then remove the files that nothing needs any more.

    Returns
    -------
    int
        Number of files removed.
    """
    files = spool(settings)
    InputKeeper(ledger, files, settings.storage.training_cache).keep()
    return clean(ledger, files, settings.storage.keep_days * _DAY, names(settings, "destination"))


def archive(settings: Settings) -> Archive:
    """Return the small archive of our own."""
    return Archive(
        ae_title=ARCHIVE_AE, host="127.0.0.1", port=settings.archive.port, folder=settings.archive.folder
    )


def web_app(settings: Settings, ledger: Ledger, roles: Collection[str]) -> FastAPI:
    """Return the pages, the API and the probes; ``roles`` are the processes that must live."""
    return create_app(
        ledger,
        spool=settings.storage.spool,
        site_name=settings.site.name,
        timezone=settings.site.timezone,
        viewer_template=settings.web.viewer,
        password=settings.web.password.get_secret_value(),
        min_free_bytes=int(settings.storage.min_free_gb * _GB),
        roles=tuple(roles),
    )


def worker_stages(settings: Settings, ledger: Ledger, running: Models) -> dict[Step, Stage]:
    """Return the stages from an instance's header to its report, and of what comes back."""
    files, zone, times = spool(settings), ZoneInfo(settings.site.timezone), targets(settings)
    scorer = Scorer(ledger, files, running, uses(settings))
    return {
        Step.ARRIVE: ArriveStage(ledger, files, times),
        Step.SCORE_IMAGE: ScoreImageStage(ledger, scorer),
        Step.ASSEMBLE: AssembleStage(ledger, settings.assemble.quiet_seconds),
        Step.SCORE: ScoreStage(ledger, scorer, times),
        Step.TRIAGE: TriageStage(ledger, running, times),
        Step.SELECT: SelectStage(ledger, budget(settings)),
        Step.REPORT: ReportStage(
            ledger,
            files,
            ae_title=settings.dicom.ae_title,
            peers=names(settings, "results"),
            sr=settings.report.sr,
            timezone=zone,
            software_version=version("orthanc-al"),
        ),
        Step.MIRROR: MirrorStage(ledger, orthanc(settings) if settings.orthanc.mirror else None),
        Step.REVIEW: ReviewStage(ledger, files, timezone=zone, trust_unnamed=settings.review.trust_unnamed),
    }


def learner_stages(settings: Settings, ledger: Ledger) -> dict[Step, Stage]:
    """Return the stage that learns."""
    triage = settings.triage
    return {
        Step.RETRAIN: RetrainStage(
            ledger,
            settings.storage.models,
            Guarantee(triage.miss_rate, triage.false_alarm_rate, triage.delta),
            load_plan(settings.learn.pccp),
            automatic=settings.learn.promotion == "automatic",
        )
    }


def warm_up(settings: Settings, ledger: Ledger, running: Models) -> str:
    """Load the live packages; return the execution provider that is really used, by model.

    Raises
    ------
    ProviderError
        ``inference.require_gpu`` asks for CUDA and it is not there.
    """
    with ledger.read() as connection:
        live = [models.champion(connection, use.name) for use in uses(settings)]
    for model in live:
        if model is not None:
            running.get(model.folder, model.ref)
    return ", ".join(f"{name}: {provider}" for name, provider in running.providers().items()) or "no model"
