"""Alembic's entry: runs the migrations on the ledger whose URL `Ledger.create` passes, in one transaction."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine

from orthanc_al.ledger.schema import metadata

_LOCK = 0x414C  # any number: the advisory lock of those who migrate


def _begin(connection: Connection) -> None:
    """Begin the transaction, and let nobody else migrate until its end."""
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        raw.isolation_level = None  # pysqlite would commit each statement that changes the schema
        raw.execute("PRAGMA busy_timeout=60000").close()
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")


engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    _begin(connection)
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
