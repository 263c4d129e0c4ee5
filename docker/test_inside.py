"""The part of ``docker/test.sh`` that runs in containers: ``python - send | check`` with this file on stdin.

``send`` is a modality: it sends synthetic studies to the listener of the container ``orthanc_al`` and writes
the SHA-256 of each data set to the standard output. ``check`` is given that and looks for the studies in
Orthanc and on the worklist; each check is a line, and the exit status is 1 where one failed.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

STUDIES = 12
SECONDS = 180.0
READ_BY = 4200  # its number in docker/orthanc.json


def data_set(part_10: bytes) -> bytes:
    """Return what follows the file meta information, whose length its first element tells (PS3.10 7.1)."""
    start = 132 + 12
    return part_10[start + int.from_bytes(part_10[start - 4 : start], "little") :]


def send() -> None:
    """Send the demo's first studies as a modality of its own address."""
    from orthanc_al.demo import demo_datasets  # here alone: it takes a second  # noqa: PLC0415

    sent = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, film in enumerate(itertools.islice(demo_datasets(time.time()), STUDIES)):
            path = Path(folder, f"{number}.dcm")
            film.save_as(path, enforce_file_format=True)
            sent[film.SOPInstanceUID] = hashlib.sha256(data_set(path.read_bytes())).hexdigest()
        subprocess.run(  # noqa: S603 - our own program
            ["orthanc-al", "send", folder, "--calling", "MODALITY"],  # noqa: S607 - in the image it is one
            check=True,
            stdout=sys.stderr,
        )
    json.dump(sent, sys.stdout)


class Checks:
    """Counts what failed, and says each as a line."""

    def __init__(self) -> None:
        self.failed = 0

    def say(self, promise: str, *, held: bool, seen: object = "") -> None:
        """Say whether a promise held, and what was seen."""
        self.failed += not held
        sys.stdout.write(f"{'ok    ' if held else 'FAILED'} {promise}{f': {seen}' if seen != '' else ''}\n")


def wait_for(look: Callable[[], bool]) -> bool:
    """Look until it is so; return whether it came to be."""
    until = time.monotonic() + SECONDS
    while not look():
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True


def secret(name: str) -> str:
    """Return a password."""
    return Path(os.environ["ORTHANC_AL_SECRETS"], name).read_text().strip()


def check(sent: dict[str, str]) -> int:
    """Look for the studies that were sent; return how many checks failed."""
    checks = Checks()
    page = httpx.Client(base_url="http://127.0.0.1:8080", auth=("test", secret("web__password")), timeout=30)
    orthanc = httpx.Client(
        base_url="http://orthanc:8042", auth=("orthanc_al", secret("orthanc__password")), timeout=30
    )
    for name, client in (("the worklist", page), ("Orthanc", orthanc)):
        status = httpx.get(client.base_url, timeout=30).status_code
        checks.say(f"{name} is closed without the password", held=status == 401, seen=status)
    done = wait_for(lambda: len(worklist(page)) == len(sent) and not waiting(page))
    checks.say("all work is done in time", held=done, seen="; ".join(waiting(page)))
    check_forwarding(checks, orthanc, sent)
    check_results(checks, worklist(page), orthanc)
    doctor = subprocess.run(["orthanc-al", "doctor"], check=False, capture_output=True, text=True)  # noqa: S607
    seen = "" if doctor.returncode == 0 else f"\n{doctor.stdout}{doctor.stderr}"
    checks.say("orthanc-al doctor has no complaint", held=doctor.returncode == 0, seen=seen)
    return checks.failed


def worklist(page: httpx.Client) -> list[dict[str, Any]]:
    """Return the worklist in its order."""
    answer: list[dict[str, Any]] = page.get("/api/v1/worklist").raise_for_status().json()["studies"]
    return answer


def waiting(page: httpx.Client) -> list[str]:
    """Return the metrics that tell of work to be done."""
    lines = page.get("/metrics").raise_for_status().text.splitlines()
    work = [line for line in lines if line.startswith(("orthanc_al_jobs{", "orthanc_al_deliveries{"))]
    return [line for line in work if not line.endswith(" 0.0") and 'state="sent"' not in line]


def check_forwarding(checks: Checks, orthanc: httpx.Client, sent: dict[str, str]) -> None:
    """Compare the data sets in Orthanc with those sent."""
    same = 0
    for instance in orthanc.get("/instances", params={"expand": ""}).raise_for_status().json():
        uid = instance["MainDicomTags"]["SOPInstanceUID"]
        if uid in sent:
            file = orthanc.get(f"/instances/{instance['ID']}/file").raise_for_status().content
            same += hashlib.sha256(data_set(file)).hexdigest() == sent[uid]
    checks.say(
        "every data set is in Orthanc, byte for byte", held=same == len(sent), seen=f"{same} of {len(sent)}"
    )


def check_results(checks: Checks, entries: list[dict[str, Any]], orthanc: httpx.Client) -> None:
    """Look at the worklist, and whether Orthanc tells the same: of an audit case both tell nothing."""
    order = ", ".join(f"{study['tier']} {study['read_by'][11:16]}" for study in entries)
    in_order = entries == sorted(entries, key=lambda study: str(study["read_by"]))
    checks.say("the worklist is in the order of the read-by times", held=in_order, seen=order)
    checks.say("studies differ in their tiers", held=len({study["tier"] for study in entries}) > 1)
    shown = {study["study_instance_uid"]: study for study in entries if study["result"]}
    checks.say(
        "every study is scored, or kept blind for the audit",
        held=all(study["state"] == ("scored" if study["result"] else "complete") for study in entries),
        seen=f"{len(shown)} and {len(entries) - len(shown)}",
    )
    reported, placed = set(), {}
    for study in orthanc.get("/studies", params={"expand": ""}).raise_for_status().json():
        uid = study["MainDicomTags"]["StudyInstanceUID"]
        series = orthanc.get(f"/studies/{study['ID']}/series").raise_for_status().json()
        if any(one["MainDicomTags"]["Modality"] == "SR" for one in series):
            reported.add(uid)
        read_by = orthanc.get(f"/studies/{study['ID']}/metadata/{READ_BY}")
        if read_by.status_code == 200:
            placed[uid] = int(read_by.text)
    checks.say(
        "Orthanc has a report of each study whose result is shown, and of no other",
        held=bool(shown) and reported == shown.keys(),
        seen=len(reported),
    )
    due = {  # a blind study has the place of one without a score: missing, it would tell that it was drawn
        study["study_instance_uid"]: int(datetime.fromisoformat(study["read_by"]).timestamp()) // 60
        for study in entries
    }
    checks.say("Orthanc has their read-by times", held=placed == due, seen=len(placed))


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send()
    else:
        sys.exit(1 if check(json.loads(sys.argv[2])) else 0)
