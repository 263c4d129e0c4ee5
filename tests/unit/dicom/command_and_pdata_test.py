"""What we put on the wire ourselves is what the standard, and pynetdicom, read there."""

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from orthanc_al.dicom import command, pdata

CT = "1.2.840.10008.5.1.4.1.1.2"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40000), st.sampled_from([0, 1, 4096, 16384, 131072]), st.integers(0, 127))
def test_a_message_is_read_by_pynetdicom_as_it_was_written(body: bytes, maximum: int, number: int) -> None:
    context_id = 2 * number + 1
    message = DIMSEMessage()
    done = False
    for part, is_command in ((command.c_store_rq(7, CT, "1.2.3"), True), (body, False)):
        for header, fragment in pdata.fragments(context_id, part, maximum, command=is_command):
            assert not done
            assert maximum == 0 or len(header) + len(fragment) - 6 <= max(maximum, 4096)
            pdu = P_DATA_TF()
            pdu.decode(header + bytes(fragment))
            done = message.decode_msg(pdu.to_primitive())
    assert done
    request = message.message_to_primitive()
    assert (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID, request.MessageID) == (
        CT,
        "1.2.3",
        7,
    )
    assert request.DataSet.getvalue() == body


def test_our_command_set_is_the_one_that_pynetdicom_would_send() -> None:
    request = C_STORE()
    request.AffectedSOPClassUID = CT
    request.AffectedSOPInstanceUID = "1.2.3"
    request.MessageID = 7
    request.Priority = 0
    request.DataSet = BytesIO(b"x")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.command_set.CommandDataSetType = 0x0001
    theirs = encode(message.command_set, True, True)
    ours = command.c_store_rq(7, CT, "1.2.3")
    assert theirs is not None
    assert ours[12:] == theirs[-len(ours[12:]) :]


@given(st.binary(max_size=3000), st.booleans())
def test_fragments_read_back(body: bytes, is_command: bool) -> None:
    got = b""
    for header, fragment in pdata.fragments(3, body, 4096, command=is_command):
        ((context_id, of_command, last, part),) = pdata.values(header[6:] + bytes(fragment))
        assert (context_id, of_command) == (3, is_command)
        got += part
    assert last
    assert got == body


@given(st.binary(max_size=200))
def test_noise_is_no_response_and_no_crash(noise: bytes) -> None:
    for read in (command.decode_response, lambda data: list(pdata.values(data))):
        try:
            read(noise)
        except ValueError:
            continue


def test_a_response_is_read_with_its_comment() -> None:
    comment = b"\0\0\x02\x09\x06\0\0\0no way"
    response = command.decode_response(
        b"\0\0\x20\x01\x02\0\0\0\x07\0" + b"\0\0\0\x09\x02\0\0\0\x00\xa7" + comment
    )
    assert (response.message_id, response.status, response.comment) == (7, 0xA700, "no way")


@pytest.mark.parametrize(
    "broken",
    [
        b"\0\0\x20\x01\x02\0\0\0\x07\0",  # no status
        b"\0\0\0\x09\x02\0\0\0\0\0",  # names no request
        b"\0\0\0\x09\xff\0\0\0\0\0",  # longer than it is
        b"\x08\0\x18\0\x02\0\0\0\0\0",  # of a data set
        b"\0\0\0",
    ],
)
def test_what_is_no_response_is_told(broken: bytes) -> None:
    with pytest.raises(ValueError):
        command.decode_response(broken)
