"""What SQLAlchemy's inspector, its reflection and Alembic's comparison see of the database that libpq's
variables name: a line a fact, or an error in its place."""

import os
import re

from sqlalchemy import MetaData, create_engine, inspect, text
from sqlalchemy.engine.reflection import ObjectKind
from sqlalchemy.exc import DBAPIError

DATABASE = "{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/{PGDATABASE}".format(**os.environ)
engine = create_engine(f"postgresql+psycopg://{DATABASE}")


def tell(name, ask):
    try:
        found = ask()
    except DBAPIError as error:
        print(f"{name}: REFUSED {error.orig.sqlstate} {str(error.orig).splitlines()[0]}")
        return
    for fact in facts(found):
        print(f"{name}: {re.sub(r' object at 0x[0-9a-f]+', '', fact)}")


def facts(found):
    """A line a fact: lists and mappings taken apart, sets put in order."""
    if isinstance(found, dict) and all(isinstance(key, tuple) for key in found):
        return [f"{key} {fact}" for key, value in found.items() for fact in facts(value) or ["none"]]
    if isinstance(found, (list, tuple)):
        return [repr(fact) for fact in found]
    return [repr(found)]


inspector = inspect(engine)
tell("version", lambda: engine.dialect.server_version_info)
tell("default schema", lambda: inspector.default_schema_name)
tell("schemas", inspector.get_schema_names)
for schema in ["public", "other", "pg_catalog", "information_schema"]:
    for kind in ["table", "view", "materialized_view", "foreign_table", "temp_table", "sequence"]:
        ask = getattr(inspector, f"get_{kind}_names")
        tell(f"{schema} {kind}", lambda: ask() if kind == "temp_table" else ask(schema=schema))
for schema in ["public", "other"]:
    tell(f"{schema} enums", lambda: inspector.get_enums(schema=schema))
    tell(f"{schema} domains", lambda: inspector.get_domains(schema=schema))
    for kind in ["columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints",
                 "check_constraints", "table_comment", "table_options"]:
        tell(f"{schema} {kind}", lambda: getattr(inspector, f"get_multi_{kind}")(schema=schema, kind=ObjectKind.ANY))
    for view in inspector.get_view_names(schema=schema):
        tell(f"{schema} {view}", lambda: inspector.get_view_definition(view, schema=schema))
tell("oid", lambda: inspector.get_table_oid("items") > 0)
tell("has", lambda: [inspector.has_table("items"), inspector.has_sequence("notes_id_seq"), inspector.has_table("no")])


def reflect():
    metadata = MetaData()
    metadata.reflect(engine, views=True)
    return [repr(table) for table in metadata.sorted_tables]


tell("reflected", reflect)


def compare():
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    known = MetaData()
    known.reflect(engine, only=["customers", "orders", "items"])
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        return [f"version {context.get_current_revision()}"] + [str(one) for one in compare_metadata(context, known)]


tell("alembic", compare)
with engine.connect() as connection:
    tell("rows", lambda: connection.execute(text("SELECT * FROM items")).all())
