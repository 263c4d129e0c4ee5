"""The container's health: the pages answer, and each process of the service lives.

What a restart does not mend, such as a full disk or work that has waited for long, makes the service not
ready (``/readyz``, ``orthanc-al doctor``), but not unhealthy.
"""

import base64
import http.client
import json
import os
import sys
from pathlib import Path


def password() -> str:
    """Return the password of the pages: the file wins over the variable, as in the service."""
    file = Path(os.environ["ORTHANC_AL_SECRETS"], "web__password")
    return file.read_text().strip() if file.is_file() else os.environ.get("ORTHANC_AL_WEB__PASSWORD", "")


def fault() -> str:
    """Return what is wrong, empty where nothing is.

    Raises
    ------
    OSError
        The pages do not answer.
    """
    credentials = base64.b64encode(f"health:{password()}".encode()).decode()
    pages = http.client.HTTPConnection("127.0.0.1", 8080, timeout=8)
    pages.request("GET", "/readyz", headers={"Authorization": f"Basic {credentials}"})
    answer = pages.getresponse()
    if answer.status not in (200, 503):
        return f"/readyz answers {answer.status}"
    state = json.load(answer)
    sys.stdout.write(f"{'ready' if state['ready'] else 'not ready: ' + '; '.join(state['reasons'])}\n")
    dead = [role for role, process in state["processes"].items() if not process["alive"]]
    return f"not alive: {', '.join(dead)}" if dead else ""


if __name__ == "__main__":
    try:
        sys.exit(fault() or 0)
    except OSError as error:
        sys.exit(f"the pages do not answer: {error}")
