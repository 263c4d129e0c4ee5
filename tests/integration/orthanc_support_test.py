"""The Orthanc of the tests: in its own network, reached both ways, restartable."""

import socket
from pathlib import Path

import httpx
import pydicom
import pytest
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from tests.support.orthanc import Orthanc

pytestmark = pytest.mark.needs_orthanc


def _scp(received: list[str]) -> tuple[object, int]:
    ae = AE("PEER")
    ae.supported_contexts = StoragePresentationContexts

    def store(event: evt.Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        return 0

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]), port


def test_dicom_and_http_reach_it_and_it_reaches_its_modalities(tmp_path: Path, data: Path) -> None:
    received: list[str] = []
    server, port = _scp(received)
    image = pydicom.dcmread(next((data / "dicom").rglob("CT_small.dcm")))
    try:
        with Orthanc(tmp_path, modalities={"PEER": ("PEER", port)}) as orthanc:
            ae = AE("SENDER")
            ae.add_requested_context(Verification)
            ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
            association = ae.associate("127.0.0.1", orthanc.dicom_port, ae_title=orthanc.ae_title)
            assert association.is_established
            assert association.send_c_store(image).Status == 0
            association.release()
            assert list(orthanc.instances()) == [image.SOPInstanceUID]

            orthanc.stop()
            with pytest.raises(httpx.HTTPError):
                orthanc.get("/system")
            orthanc.start()
            [instance] = orthanc.get("/instances")
            orthanc.post("/modalities/PEER/store", instance.encode())
            assert received == [image.SOPInstanceUID]
    finally:
        server.shutdown()
