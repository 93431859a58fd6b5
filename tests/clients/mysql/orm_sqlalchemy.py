"""What SQLAlchemy's inspector and reflection ask: host, port, user, password, database."""

import sys

from sqlalchemy import MetaData, create_engine, inspect, text

host, port, user, password, database = sys.argv[1:]
product = "mariadb" if "--mariadb" in sys.argv else "mysql"
engine = create_engine(f"{product}+pymysql://{user}:{password}@{host}:{port}/{database}?charset=utf8mb4", pool_pre_ping=True)
inspector = inspect(engine)
inspector.get_schema_names()
for schema in [None, database]:
    for table in inspector.get_table_names(schema):
        for kind in ["columns", "pk_constraint", "foreign_keys", "indexes", "unique_constraints", "check_constraints"]:
            getattr(inspector, f"get_{kind}")(table, schema)
        inspector.get_table_comment(table, schema)
        inspector.get_table_options(table, schema)
    for view in inspector.get_view_names(schema):
        inspector.get_view_definition(view, schema)
        inspector.get_columns(view, schema)
assert inspector.has_table("customers") and not inspector.has_table("missing")
metadata = MetaData()
metadata.reflect(engine, views=True)
customers = metadata.tables["customers"]
with engine.connect() as connection:
    connection.execute(customers.select().where(customers.c.name == "é")).all()
    connection.rollback()
with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
    connection.execute(text("SELECT COUNT(*) FROM totals")).all()
with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
    with connection.execution_options(stream_results=True).execute(text("SELECT * FROM orders")) as rows:
        rows.all()
print("done")
