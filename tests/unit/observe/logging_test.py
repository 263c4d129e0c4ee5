"""Logs carry events, and no patient data whatever a caller passes."""

import io
import json
import logging
import subprocess
import sys
import threading

from structlog.testing import capture_logs

from orthanc_al.observe import configure_logging, keep_turning, logger

_MADE_BEFORE_THE_SET_UP = logger("tests")


def test_a_logger_made_at_import_takes_the_set_up_that_came_later() -> None:
    stream = io.StringIO()
    configure_logging("WARNING", json=True, stream=stream)
    _MADE_BEFORE_THE_SET_UP.info("not_written")
    _MADE_BEFORE_THE_SET_UP.warning("written", study="1.2.3")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["room"], event["study"]) == ("written", "tests", "1.2.3")


def test_keys_that_could_hold_a_person_are_cut_out() -> None:
    stream = io.StringIO()
    configure_logging("INFO", json=True, stream=stream)
    _MADE_BEFORE_THE_SET_UP.info("seen", patient_name="Doe^Jane", patient_id="4711", reader="Dr. No")
    assert "Doe" not in stream.getvalue()
    assert "4711" not in stream.getvalue()
    assert "No" not in stream.getvalue().replace("INFO", "")


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream=stream)
    _MADE_BEFORE_THE_SET_UP.info("study_complete", study="1.2.3")
    assert "study_complete" in stream.getvalue()


def test_libraries_that_print_identifiers_are_silent() -> None:
    stream = io.StringIO()
    configure_logging("INFO", stream=stream)
    logging.getLogger("pydicom").error("value of (0010,0010) is 'Doe^Jane'")
    assert "Doe" not in stream.getvalue()


def test_warnings_that_quote_a_data_set_are_not_written() -> None:
    """Pydicom warns with the value that it does not like, which may be a name."""
    code = (
        "import io\nfrom orthanc_al.observe import configure_logging\n"
        "configure_logging('INFO', stream=io.StringIO())\n"
        "from pydicom import Dataset\nDataset().PatientID = 'Doe^Jane' * 20\n"
        "import logging\nlogging.getLogger('pydicom').warning('Doe^Jane')\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Doe" not in said.stdout + said.stderr


def test_a_turn_that_fails_is_told_and_the_next_one_comes() -> None:
    stop, turns = threading.Event(), []

    def turn() -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            raise ValueError("once")
        stop.set()

    with capture_logs() as told:
        keep_turning(turn, stop, 0.001, logger("test"), "turn_crashed")
    assert turns == [0, 1]
    assert [(one["event"], one["log_level"]) for one in told] == [("turn_crashed", "error")]
