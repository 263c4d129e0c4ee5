"""Builds what has to do with models from the settings."""

from zoneinfo import ZoneInfo

from orthanc_al.domain.criteria import Criteria
from orthanc_al.errors import ModelError
from orthanc_al.inference import ModelPackage, Models, load_package
from orthanc_al.ledger import Ledger, models
from orthanc_al.methods.urgency import Targets
from orthanc_al.observe import logger
from orthanc_al.score import ModelUse
from orthanc_al.select import Budget
from orthanc_al.settings import Settings

_log = logger("service")


def packages(settings: Settings) -> tuple[ModelPackage, ...]:
    """Return the configured model packages.

    Raises
    ------
    PackageRefusedError
        One does not hold.
    """
    return tuple(load_package(model.package) for model in settings.models)


def install(settings: Settings, ledger: Ledger) -> list[str]:
    """Make the configured packages known; return why some of them can't be used.

    Studies are taken in and passed on without a model, so a package that does not hold stops nothing here.
    """
    faults = []
    for model in settings.models:
        try:
            package = load_package(model.package)
            with ledger.write() as connection:
                models.install(connection, package.ref, package.folder)
        except (ModelError, OSError) as error:
            _log.error("package_refused", package=str(model.package), error=str(error))
            faults.append(str(error))
    return faults


def uses(settings: Settings) -> tuple[ModelUse, ...]:
    """Return which model is for which studies."""
    return tuple(
        ModelUse(load_package(model.package).ref.name, Criteria(**model.model_dump(exclude={"package"})))
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


def running(settings: Settings) -> Models:
    """Return what loads packages and keeps them."""
    return Models(settings.inference.threads, require_gpu=settings.inference.require_gpu)


def warm_up(settings: Settings, ledger: Ledger, loaded: Models) -> str:
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
            loaded.get(model.folder, model.ref)
    return ", ".join(f"{name}: {provider}" for name, provider in loaded.providers().items()) or "no model"
