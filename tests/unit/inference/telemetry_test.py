"""Nothing of a hospital's machine is told to anybody."""

import os
import subprocess
import sys

_SAYS = """
import os, sys
import orthanc_al
assert "onnxruntime" not in sys.modules
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def test_onnx_runtime_is_told_to_report_to_nobody_before_it_is_imported() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            _SAYS,
        ],
        env={key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "1"
