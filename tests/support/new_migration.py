"""Writes the next migration from the tables of ``ledger/schema``: ``make migration M="what changes"``.

Read what it wrote: Alembic sees no change of a column's meaning, and moves no data.
"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from orthanc_al.ledger import Ledger, upgrade


def main(message: str) -> int:
    """Write the migration between the newest revision and the tables as they are now."""
    if not message:
        sys.stderr.write('say what changes: make migration M="deliveries know who asked"\n')
        return 2
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
        Ledger.create(url).close()
        config = upgrade.config(url)
        number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
        made = command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
    sys.stdout.write(f"{made.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]).strip()))
