"""The work queue as tests take it: one job after the other."""

from collections.abc import Collection

from orthanc_al.ledger import Job, Outcome, WorkQueue
from orthanc_al.pipeline import Step


class OneByOne(WorkQueue):
    """A queue whose jobs are claimed and finished singly; what can't be written is raised."""

    def claim(self, steps: Collection[Step]) -> Job | None:
        """Take the job that is due, None where none is."""
        return _only(self.claim_many(steps))

    def finish(self, job: Job, outcome: Outcome, then: Collection[Step] = ()) -> Job | None:
        """Finish a job and take the next one of ``then``."""
        finished = self.finish_many([(job, outcome)], then)
        for _, error in finished.refused:
            raise error
        return _only(finished.following)


def _only(claimed: list[Job]) -> Job | None:
    assert len(claimed) <= 1, "a batch"
    return claimed[0] if claimed else None
