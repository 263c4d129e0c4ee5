"""The pages, the API and the nightly clock."""

import threading
from typing import Any, Final

import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from fastapi import FastAPI

from orthanc_al.learn import load_plan
from orthanc_al.ledger import Ledger, enqueue
from orthanc_al.observe import now
from orthanc_al.pipeline import Step
from orthanc_al.review.vocabulary import known_findings
from orthanc_al.select import spend_the_rest
from orthanc_al.service import modelling, ports, roles
from orthanc_al.settings import Settings
from orthanc_al.web import create_app
from orthanc_al.web.context import User

_GB: Final = 1e9


def run(settings: Settings, ledger: Ledger, stop: threading.Event, detail: dict[str, Any]) -> None:
    """Serve until told to stop."""
    # Bound here: uvicorn would end its thread alone, and say nothing that helps.
    listening = ports.bind("web.port", settings.web.host, settings.web.port)
    server = uvicorn.Server(
        uvicorn.Config(
            build(settings, ledger, stop),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
        )
    )
    clock = _nightly_clock(settings, ledger)
    thread = threading.Thread(target=server.run, args=([listening],), name="web")
    thread.start()
    while not server.started and thread.is_alive():
        stop.wait(0.05)
    if server.started:
        detail.update(state="ready", port=settings.web.port)
    while thread.is_alive() and not stop.wait(0.5):
        continue
    server.should_exit = True
    thread.join()
    listening.close()
    if clock is not None:
        clock.shutdown(wait=False)


def _nightly_clock(settings: Settings, ledger: Ledger) -> BackgroundScheduler | None:
    """Start the clock of the two crons and of ``review.spend_rest_at``; None where all are off."""
    zone, rest = settings.site.timezone, settings.review.spend_rest_at
    crons = {Step.RETRAIN: settings.learn.cron, Step.MONITOR: settings.monitor.cron}
    wanted = {step: cron for step, cron in crons.items() if cron}
    if not wanted and not rest:
        return None

    def ring(step: Step) -> None:
        names = [package.ref.name for package in modelling.packages(settings)]
        with ledger.write() as connection:
            for name in names:
                enqueue(connection, step, name, now())

    scheduler = BackgroundScheduler(timezone=zone)
    for step, cron in wanted.items():
        # A machine that slept through the hour does it when it wakes, once.
        scheduler.add_job(
            ring,
            CronTrigger.from_crontab(cron, zone),
            args=[step],
            coalesce=True,
            misfire_grace_time=6 * 3600,
        )
    if rest:
        hour, minute = (int(part) for part in rest.split(":"))
        scheduler.add_job(
            spend_the_rest,
            CronTrigger(hour=hour, minute=minute, timezone=zone),
            args=[ledger, modelling.budget(settings)],
            coalesce=True,
            # Never after the site's midnight, though: that would be the next day's budget.
            misfire_grace_time=max(1, (24 - hour) * 3600 - minute * 60 - 60),
        )
    scheduler.start()
    return scheduler


def build(settings: Settings, ledger: Ledger, stop: threading.Event) -> FastAPI:
    """Return the pages, the API and the probes."""
    return create_app(
        ledger,
        spool=settings.storage.spool,
        site_name=settings.site.name,
        timezone=settings.site.timezone,
        viewer_template=settings.web.viewer,
        viewers=settings.web.viewers,
        viewer_origins=settings.web.viewer_origins,
        password=settings.web.password.get_secret_value(),
        users={
            login: User(user.password.get_secret_value(), user.name, user.program)
            for login, user in settings.web.users.items()
        },
        known_findings=known_findings,
        min_free_bytes=int(settings.storage.min_free_gb * _GB),
        training_cache=settings.storage.training_cache,
        keep_seconds=settings.storage.keep_days * 86400,
        budget_per_day=settings.review.budget_per_day,
        shadow_rule=load_plan(settings.learn.pccp).shadow.rule,
        stopping=stop,
        roles=roles.active(settings),
    )
