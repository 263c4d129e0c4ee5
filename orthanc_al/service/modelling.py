"""Builds what has to do with models from the settings."""

from zoneinfo import ZoneInfo

from orthanc_al.domain.criteria import Criteria
from orthanc_al.errors import ModelError
from orthanc_al.inference import ModelPackage, Models, Server, load_package
from orthanc_al.ledger import Ledger, models
from orthanc_al.methods.urgency import Targets
from orthanc_al.observe import logger
from orthanc_al.score import ModelUse
from orthanc_al.select import Budget
from orthanc_al.settings import Settings
from orthanc_al.settings.sections.scoring import Model

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


def uses(settings: Settings, ledger: Ledger, loaded: Models) -> tuple[ModelUse, ...]:
    """Install and load the models; return which one is for which studies, and why one can't be run.

    A package that does not hold stops its own studies alone: they wait until it is mended.

    Raises
    ------
    DeviceLostError
        The GPU is lost, to the packages that were loaded before as well.
    """
    return tuple(_use(model, ledger, loaded) for model in settings.models)


def _use(model: Model, ledger: Ledger, loaded: Models) -> ModelUse:
    name, fault = model.package.name, ""
    try:
        package = load_package(model.package)
        name = package.ref.name
        with ledger.write() as connection:
            models.install(connection, package.ref, package.folder)
            live = models.champion(connection, name)
        if live is not None:
            loaded.get(live.folder, live.ref)
    except (ModelError, OSError) as error:
        _log.error("model_not_loaded", package=str(model.package), error=str(error))
        fault = str(error)
    return ModelUse(name, Criteria(**model.model_dump(exclude={"package"})), fault)


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


def running(settings: Settings, *, here: bool = False, without_gpu: str = "") -> Models:
    """Return what loads packages and keeps them.

    Parameters
    ----------
    here
        Don't run them on the inference server: it does not have them.
    without_gpu
        As `Models` takes it.
    """
    inference = settings.inference
    server = Server(inference.url, inference.timeout_seconds, inference.fallback)
    return Models(
        inference.threads,
        require_gpu=inference.require_gpu,
        server=server if inference.url and not here else None,
        without_gpu=without_gpu,
    )


def providers(loaded: Models) -> str:
    """Return what each model really runs on, for people."""
    return ", ".join(f"{name}: {provider}" for name, provider in loaded.providers().items()) or "no model"
