"""orthanc_al: a gateway beside a PACS that scores studies and re-orders the reading worklist."""

import os

# ONNX Runtime from 1.29 on reports to its maker unless this is set before it is imported. A hospital's
# machine tells nobody anything: whoever wants it otherwise sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
