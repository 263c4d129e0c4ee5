"""The step `monitor` on a ledger: forty days of a site, a scanner that changes, and what is written."""

from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import insert

from orthanc_al.domain import Grouping
from orthanc_al.errors import ModelError
from orthanc_al.inference.variant import variant_of
from orthanc_al.ledger import Job, Ledger, models, monitoring
from orthanc_al.ledger.schema import selections
from orthanc_al.monitor import MonitorStage, Promise, Watch
from orthanc_al.monitor.looking import live_package
from orthanc_al.monitor.stage import WEEK
from orthanc_al.pipeline import Step, successors
from tests.support.learning_ledger import put_prediction, put_read, put_study
from tests.support.tiny_package import CHANNELS, tiny_package

DAY = 86400.0
START = 20_000 * DAY
UTC = ZoneInfo("UTC")
A_DAY = 30


class Site:
    """A ledger that days are added to."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger = ledger
        self.random = np.random.default_rng(31)
        self.days = 0
        package = tiny_package(folder / "package", limit=6.0)
        self.ref = package.ref
        with ledger.write() as connection:
            models.install(connection, package.ref, package.folder)

    def live(self, days: int, *, moved: float = 0.0, per_day: int = A_DAY, read: bool = True) -> None:
        with self.ledger.write() as connection:
            for _ in range(days):
                for number in range(per_day):
                    self._study(connection, number, per_day, moved, read=read)
                self.days += 1

    def _study(self, connection, number: int, per_day: int, moved: float, *, read: bool) -> None:
        at = START + self.days * DAY + number * DAY / per_day
        uid, audited = f"1.2.{self.days}.{number}", number % 5 == 0
        embedding = self.random.normal(size=CHANNELS) + moved
        put_study(connection, uid, arrived_at=at, placed_at=at)
        put_prediction(
            connection, uid, 0.0, scored_at=at, embedding=embedding, ood=0.5 + moved / 4, model=self.ref
        )
        if not audited:
            return
        if read:
            put_read(connection, uid, bool(self.random.uniform() < 0.2), at=at + 600, ai_shown=False)
        connection.execute(
            insert(selections).values(
                study_instance_uid=uid,
                kind="audit",
                strategy="random",
                propensity=0.2,
                seed="s",
                fold=("thresholds", "gate", "calibration")[number // 5 % 3],
                decided_at=at,
                day=str(np.datetime64(int(at), "s").astype("datetime64[D]")),
                signed_at=at + 600 if read else None,
            )
        )

    def look(self, **watch: object) -> tuple[str, dict[tuple[str, str], monitoring.Point]]:
        """Run the step at one o'clock of the next day; return its outcome and the newest day's points."""
        stage = MonitorStage(
            self.ledger,
            Watch(**{"reference_days": 14, "window_days": 20, "alpha": 0.001, **watch}),
            Promise(0.05, 0.10, Grouping.NONE, 0.2),
            7 * DAY,
            UTC,
            lambda: START + self.days * DAY + 3600.0,
        )
        outcome = stage.run(Job(1, Step.MONITOR, "tiny", 1, "test"))
        with self.ledger.write() as connection:
            outcome.write(connection)
        assert successors(Step.MONITOR, outcome.name) == ()
        with self.ledger.read() as connection:
            newest = monitoring.latest(connection)
        return outcome.name, {(one.point.measure, one.point.part): one.point for one in newest}


@pytest.fixture
def site(ledger: Ledger, tmp_path: Path) -> Site:
    return Site(ledger, tmp_path)


def test_a_site_s_first_days_are_its_reference_and_a_new_scanner_is_told_the_next_day(site: Site) -> None:
    site.live(5)
    outcome, seen = site.look()
    assert outcome == "quiet"
    assert "120 studies so far" in seen["reference", ""].reason
    assert seen["outside_domain", ""].value == 0.0
    assert seen["drawn_audits", ""].value == 6.0
    site.live(17)
    outcome, seen = site.look()
    assert outcome == "quiet", [point for point in seen.values() if point.alarm]
    assert {"embedding_mahalanobis", "embedding_energy", "score_ks", "score_psi", "prediction_mix"} <= {
        measure for measure, part in seen if part in ("", WEEK)
    }
    assert seen["positive_rate", ""].low < 0.2 < seen["positive_rate", ""].high
    assert seen["guarantee", ""].reason.startswith("Nothing is ranked low:")
    site.live(1, moved=1.5)
    outcome, seen = site.look()
    assert outcome == "alarm"
    assert seen["embedding_energy", ""].alarm
    assert (
        "a scanner, a protocol or the patients may have changed" in seen["embedding_mahalanobis", ""].reason
    )


def test_days_that_were_missed_are_caught_up_with_and_yesterday_is_looked_at_again(site: Site) -> None:
    site.live(2)
    site.look()
    site.live(3)
    site.look()
    site.look()
    with site.ledger.read() as connection:
        points = monitoring.series(connection)
    days = [one.day for one in points if one.point.measure == "signed"]
    assert len(days) == len(set(days)) == 4


def test_days_with_few_studies_borrow_from_those_before(site: Site) -> None:
    site.live(30, per_day=8)
    _, seen = site.look()
    assert seen["embedding_energy", ""].cases == 24


def test_an_audit_that_nobody_signed_is_in_no_figure_of_its_day(site: Site) -> None:
    """Who knows the other 24 studies of a day could tell what its figures hide."""
    site.live(30)
    site.look()
    site.live(1, read=False)
    _, seen = site.look()
    assert seen["embedding_energy", ""].cases == A_DAY - 6
    assert seen["prediction_mix", ""].cases == A_DAY - 6
    assert seen["drawn_audits", ""].value == 6.0


def test_a_quiet_service_says_what_it_lacks(site: Site) -> None:
    site.live(1, per_day=3)
    outcome, seen = site.look()
    assert outcome == "quiet"
    assert "embedding_energy" not in {measure for measure, _ in seen}
    assert "45 are missing" in seen["guarantee", ""].reason


def test_audits_that_nobody_reads_are_an_alarm(site: Site) -> None:
    site.live(12, read=False)
    outcome, seen = site.look()
    assert outcome == "alarm"
    assert seen["audit_unread", ""].value == 1.0
    assert seen["guarantee", ""].reason.startswith("Withdrawn:")


def test_a_model_that_is_not_live_is_told(ledger: Ledger) -> None:
    stage = MonitorStage(ledger, Watch(), Promise(0.05, 0.1, Grouping.NONE, 0.2), DAY, UTC)
    with pytest.raises(ModelError, match="No package of tiny is live"):
        stage.run(Job(1, Step.MONITOR, "tiny", 1, "test"))
    with ledger.read() as connection:
        assert monitoring.latest(connection) == []


def test_a_variant_has_the_thresholds_and_the_history_of_what_it_was_made_of(
    ledger: Ledger, tmp_path: Path
) -> None:
    factory = tiny_package(tmp_path / "factory")
    head = tiny_package(tmp_path / "head", version="2", seed=1)
    half = variant_of(head).write(tmp_path / "half")
    with ledger.write() as connection:
        models.install(connection, factory.ref, factory.folder)
        for made, parent, origin, at in ((head, factory, "retrained", 5.0), (half, head, "converted", 9.0)):
            models.add(
                connection,
                made.ref,
                made.folder,
                parent=parent.ref.digest,
                origin=origin,
                state="candidate",
                at=at,
            )
            models.promote(connection, made.ref.digest, "a person", "a test")
        live = live_package(connection, "tiny", Grouping.NONE)
    assert live.package.ref == half.ref
    assert (live.retrained, live.made_at) == (True, 5.0)
    assert live.family == {factory.ref.digest, head.ref.digest, half.ref.digest}
