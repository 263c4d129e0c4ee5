"""Housekeeping of the worker: the spool is cleaned, labels are looked at."""

import threading
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from orthanc_al.assemble.counting import SourceCounter
from orthanc_al.errors import OrthancAlError
from orthanc_al.forward import clean
from orthanc_al.learn import InputKeeper
from orthanc_al.ledger import Ledger, training_cache
from orthanc_al.observe import logger
from orthanc_al.review import poll_labels
from orthanc_al.service import building
from orthanc_al.settings import Settings

_CLEAN_SECONDS: Final = 300.0
_LABEL_SECONDS: Final = 15.0
_DAY: Final = 86400.0
_log = logger("service")


def keep_spool(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Clean the spool now and then; what goes wrong there must not stop the worker."""
    while not stop.wait(_CLEAN_SECONDS):
        try:
            removed = clean_spool(settings, ledger)
        except (OrthancAlError, OSError, SQLAlchemyError) as error:
            _log.error("spool_not_cleaned", error=str(error))
            continue
        if removed:
            _log.info("spool_cleaned", files=removed)


def clean_spool(settings: Settings, ledger: Ledger) -> int:
    """Keep the model inputs that learning may want, then remove the files that nothing needs any more.

    Where the inputs can't be kept, the files that they are in stay, and only those.

    Returns
    -------
    int
        Number of files removed.
    """
    wanted: frozenset[str] = frozenset()
    try:
        keep_inputs(settings, ledger)
    except (OrthancAlError, OSError) as error:
        # The cache's disk is full, say. That must not fill the spool's too, and stop what is forwarded.
        with ledger.read() as connection:
            wanted = frozenset(image.instance_id for image in training_cache.wanted(connection))
        _log.error("inputs_not_kept", error=str(error), files_kept_for_it=len(wanted))
    spool = building.spool(settings)
    spool.remove_stale_parts()
    return clean(
        ledger,
        spool,
        settings.storage.keep_days * _DAY,
        building.names(settings, "destination"),
        building.committing(settings),
        wanted,
    )


def keep_inputs(settings: Settings, ledger: Ledger) -> int:
    """Keep the model inputs of labelled and drawn cases that the spool still has; return how many are new."""
    return InputKeeper(ledger, building.spool(settings), settings.storage.training_cache).keep()


def count_at_sources(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Ask the sources of arriving studies how many instances there are to be, where they are to be asked."""
    peers = [building.ae(settings, peer) for peer in settings.dicom.peers if peer.query]
    SourceCounter(ledger, peers, settings.dicom.ae_title, stop).run()


def watch_labels(settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Look at Orthanc's labels now and then: they make no entry in /changes."""
    client = building.orthanc(settings)
    if client is None:
        return
    while not stop.wait(_LABEL_SECONDS):
        try:
            poll_labels(ledger, client, trusted=settings.review.trust_labels)
        except (OrthancAlError, SQLAlchemyError) as error:
            _log.warning("labels_not_polled", error=str(error))
