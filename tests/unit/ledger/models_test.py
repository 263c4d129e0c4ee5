"""The registry: which package is live, and the way there and back."""

from pathlib import Path

import pytest

from orthanc_al.domain import ModelRef
from orthanc_al.errors import ModelError, PackageRefusedError
from orthanc_al.ledger import Ledger, lineage, models, trail

pytestmark = pytest.mark.both_databases

FACTORY, ONE, TWO, OTHER = (
    ModelRef("cxr", "1", "a" * 64),
    ModelRef("cxr", "1.site.1", "b1" + "b" * 62),
    ModelRef("cxr", "1.site.2", "b2" + "b" * 62),
    ModelRef("other", "1", "c" * 64),
)


@pytest.fixture
def registry(ledger: Ledger) -> Ledger:
    with ledger.write() as connection:
        models.install(connection, FACTORY, Path("models/cxr"))
        models.install(connection, OTHER, Path("models/other"))
        for ref, parent in ((ONE, FACTORY), (TWO, ONE)):
            models.add(
                connection,
                ref,
                Path(ref.version),
                parent=parent.digest,
                origin="retrained",
                state="candidate",
            )
    return ledger


def live(ledger: Ledger, name: str = "cxr") -> ModelRef | None:
    with ledger.read() as connection:
        champion = models.champion(connection, name)
    return None if champion is None else champion.ref


def test_a_configured_package_is_live_once_it_is_installed(registry: Ledger) -> None:
    assert live(registry) == FACTORY
    assert live(registry, "unknown") is None


def test_a_start_does_not_undo_a_promotion(registry: Ledger) -> None:
    with registry.write() as connection:
        models.promote(connection, ONE.digest, "someone", "better")
        assert not models.install(connection, FACTORY, Path("elsewhere/cxr"))
        assert models.get(connection, FACTORY.digest).folder == Path("elsewhere/cxr")
    assert live(registry) == ONE


def test_a_package_that_the_ledger_never_saw_takes_over(registry: Ledger) -> None:
    newer = ModelRef("cxr", "2", "d" * 64)
    with registry.write() as connection:
        models.promote(connection, ONE.digest, "someone", "better")
        assert models.install(connection, newer, Path("models/new"))
    assert live(registry) == newer


def test_a_changed_package_under_an_old_version_is_refused(registry: Ledger) -> None:
    changed = ModelRef("cxr", "1", "e" * 64)
    with registry.write() as connection, pytest.raises(PackageRefusedError, match="version"):
        models.install(connection, changed, Path("models/cxr"))


def test_rollbacks_go_back_one_after_the_other_and_end(registry: Ledger) -> None:
    with registry.write() as connection:
        for ref in (ONE, TWO):
            assert models.promote(connection, ref.digest, "someone", "better")
        assert not models.promote(connection, TWO.digest, "someone", "again")
        for ref in (ONE, FACTORY):
            assert models.rollback(connection, "cxr", "someone", "worse").ref == ref
        with pytest.raises(ModelError, match="nothing to roll back"):
            models.rollback(connection, "cxr", "someone", "more")
    assert live(registry) == FACTORY


def test_what_was_rolled_back_can_be_promoted_again(registry: Ledger) -> None:
    with registry.write() as connection:
        models.promote(connection, ONE.digest, "someone", "better")
        models.rollback(connection, "cxr", "someone", "worse")
        models.promote(connection, ONE.digest, "someone", "after all")
        models.rollback(connection, "cxr", "someone", "no")
    assert live(registry) == FACTORY


def test_rolling_back_a_name_without_packages_is_told(registry: Ledger) -> None:
    with registry.write() as connection, pytest.raises(ModelError, match="nothing to roll back"):
        models.rollback(connection, "unknown", "someone", "why not")


def test_a_refused_or_unknown_package_never_goes_live(registry: Ledger) -> None:
    refused = ModelRef("cxr", "bad", "f" * 64)
    with registry.write() as connection:
        models.add(
            connection, refused, Path("bad"), parent=FACTORY.digest, origin="retrained", state="refused"
        )
        with pytest.raises(ModelError, match="refused"):
            models.promote(connection, refused.digest, "someone", "please")
        with pytest.raises(ModelError, match="digest"):
            models.promote(connection, "0" * 64, "someone", "please")
    assert live(registry) == FACTORY


def test_adding_twice_is_adding_once_and_never_takes_a_promotion_back(registry: Ledger) -> None:
    with registry.write() as connection:
        models.promote(connection, ONE.digest, "someone", "better")
        models.add(
            connection, ONE, Path("1.site.1"), parent=FACTORY.digest, origin="retrained", state="candidate"
        )
        assert models.get(connection, ONE.digest).state == "promoted"
        assert len(models.versions(connection, "cxr")) == 3
        assert len(models.versions(connection)) == 4


def test_the_anchor_is_the_factory_s_and_the_family_shares_its_backbone(registry: Ledger) -> None:
    with registry.read() as connection:
        assert lineage.anchor(connection, TWO.digest).ref == FACTORY
        assert lineage.family(connection, ONE.digest) == {FACTORY.digest, ONE.digest, TWO.digest}
        assert lineage.family(connection, OTHER.digest) == {OTHER.digest}


def test_a_package_is_found_by_version_or_by_the_start_of_its_digest(registry: Ledger) -> None:
    with registry.read() as connection:
        for word, found in (("1", FACTORY), ("b1", ONE), ("zz", None), ("", None)):
            model = models.find(connection, "cxr", word)
            assert (None if model is None else model.ref) == found
        with pytest.raises(ModelError, match="Several"):
            models.find(connection, "cxr", "b")


def test_history_and_audit_trail_tell_who_did_it_and_why(registry: Ledger) -> None:
    with registry.write() as connection:
        models.promote(connection, ONE.digest, "Dr. A", "better by .01")
        last, first = models.history(connection, "cxr")
        assert (last.kind, last.approver, last.reason) == ("promoted", "Dr. A", "better by .01")
        assert (first.kind, first.previous) == ("installed", None)
        assert trail.recent(connection)[0]["action"] == "model_promoted"
