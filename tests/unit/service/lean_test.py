"""The listener loads nothing for pixels, whatever is installed beside it."""

import os
import subprocess
import sys
from pathlib import Path

_LOAD = """
import sys
from types import SimpleNamespace
from orthanc_al.service import lean
lean.import_module = lambda _: SimpleNamespace(main=lambda: 0)
sys.argv[1:] = ["listener"]
lean.main()
from orthanc_al.service import roles
roles.runner("listener")
print(*(name for name in ("numpy", "PIL", "gdcm", "pylibjpeg", "greenlet") if sys.modules.get(name)))
"""


def test_the_listener_loads_nothing_for_pixels(tmp_path: Path) -> None:
    for name in ("gdcm", "pylibjpeg"):  # GDCM has 20 MB, and what it does at each import
        (tmp_path / f"{name}.py").write_text(f"print('{name} is loaded')")
    run = subprocess.run(
        [sys.executable, "-c", _LOAD],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stdout.strip() == ""
