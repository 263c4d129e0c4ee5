"""Builds each part of the service from the settings."""

from collections.abc import Collection
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import FastAPI

from orthanc_al.assemble import ArriveStage, AssembleStage
from orthanc_al.dicom import Peer
from orthanc_al.forward import Destination, Forwarder, clean
from orthanc_al.inference import ModelPackage, Models, load_package
from orthanc_al.learn import Pccp, RetrainStage
from orthanc_al.ledger import Ledger, Stage
from orthanc_al.methods.urgency import Targets
from orthanc_al.orthanc import OrthancClient
from orthanc_al.pipeline import Step
from orthanc_al.receive import Archive, Listener, recover
from orthanc_al.report import MirrorStage, ReportStage
from orthanc_al.review import ReviewStage
from orthanc_al.score import Matching, ScoreImageStage, ScoreStage
from orthanc_al.select import Budget, SelectStage
from orthanc_al.settings import Settings
from orthanc_al.settings import Peer as PeerSettings
from orthanc_al.spool import Spool
from orthanc_al.triage import TriageStage
from orthanc_al.web import create_app

ARCHIVE_AE = "ARCHIVE"


def ae(peer: PeerSettings) -> Peer:
    """Return a configured peer as the wire's side takes it."""
    return Peer(peer.name, peer.ae_title, peer.host, peer.port, peer.roles)


def spool(settings: Settings) -> Spool:
    """Return the spool."""
    return Spool(settings.storage.spool, int(settings.storage.min_free_gb * 1e9))


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
