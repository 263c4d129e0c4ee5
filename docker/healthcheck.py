"""The container's health: the web process answers (its own page says whether the rest does)."""

import sys
import urllib.error
import urllib.request

try:
    with urllib.request.urlopen("http://127.0.0.1:8080/healthz", timeout=4) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except (urllib.error.URLError, TimeoutError) as error:
    sys.exit(f"no answer from /healthz: {error}")
