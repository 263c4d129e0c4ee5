"""Whatever comes in whatever order, a study keeps its invariants."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orthanc_al.domain import StudyState
from orthanc_al.domain.header import Header
from orthanc_al.ledger import Ledger, studies
from orthanc_al.ledger.schema import metadata

UID = "1.2.3"


class StudyLife(RuleBasedStateMachine):
    """Arrivals, completions, scores and reads of one study, results of old revisions among them."""

    def __init__(self) -> None:
        super().__init__()
        # One connection is kept open, so that the ledger lives in memory as long as the machine.
        self.ledger = Ledger("sqlite:///file:life?mode=memory&cache=shared&uri=true")

    @initialize()
    def first_image(self) -> None:
        self.clock = 0.0
        self.images = 0
        self.mixed = False
        self.seen: list[object] = []
        with self.ledger.write() as connection:
            metadata.drop_all(connection)
            metadata.create_all(connection)
        self.image("P")

    def teardown(self) -> None:
        self.ledger.close()

    @property
    def now(self):
        with self.ledger.read() as connection:
            return studies.get(connection, UID)

    def _arrive(self, patient: str, *, image: bool) -> None:
        self.clock += 1.0
        header = Header(UID, "1", "1.2", f"1.{self.clock}", modality="DX", patient_id=patient)
        with self.ledger.write() as connection:
            self.seen.append(studies.arrive(connection, header, patient, self.clock, 240, image=image)[0])

    @rule(patient=st.sampled_from(["P", "P", "P", "", "Q"]))
    def image(self, patient: str) -> None:
        self._arrive(patient, image=True)
        self.images += 1
        self.mixed = self.mixed or patient == "Q"
        assert self.now.state is StudyState.ARRIVING

    @rule()
    def report(self) -> None:
        before = self.now
        self._arrive("P", image=False)
        assert (self.now.state, self.now.revision) == (before.state, before.revision)

    @rule(back=st.integers(0, 3), what=st.sampled_from(["complete", "score", "refuse"]))
    def result(self, back: int, what: str) -> None:
        """A worker finishes with what it saw some time ago."""
        seen = self.seen[max(len(self.seen) - 1 - back, 0)]
        before = self.now
        with self.ledger.write() as connection:
            if what == "complete":
                done = studies.complete(connection, seen, "quiet", self.clock)
            elif what == "score":
                done = studies.mark_scored(connection, seen)
            else:
                done = studies.mark_ineligible(connection, seen, "why", 240)
        if seen.revision != before.revision:
            assert not done
        if not done:
            assert self.now == before

    @rule(state=st.sampled_from([StudyState.READ, StudyState.EXPIRED]))
    def close(self, state: StudyState) -> None:
        with self.ledger.write() as connection:
            studies.close(connection, UID, state, self.clock)
        assert not self.now.state.on_worklist

    @invariant()
    def revisions_count_images_and_only_complete_ones_are_judged(self) -> None:
        if not getattr(self, "images", 0):
            return
        study = self.now
        with self.ledger.read() as connection:
            completed = studies.completed_revision(connection, UID)
        assert study.revision == self.images
        assert study.patient_key == "P"
        assert (study.reason == studies.TWO_PATIENTS) == self.mixed
        assert completed is None or completed <= study.revision
        if study.state in (StudyState.COMPLETE, StudyState.SCORED, StudyState.INELIGIBLE):
            assert completed == study.revision
        assert study.last_received_at <= self.clock


StudyLife.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestStudyLife = StudyLife.TestCase
