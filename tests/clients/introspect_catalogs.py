"""Every row of every relation of pg_catalog and information_schema in the database that libpq's variables name: a
line a row, or an error in its place. Of counters, which never stand still, only that they are answered; of settings
their names."""

import psycopg

RELATIONS = """
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('pg_catalog', 'information_schema') AND c.relkind IN ('r', 'v') ORDER BY 1, 2
"""

with psycopg.connect("", autocommit=True) as connection:
    for schema, name in connection.execute(RELATIONS).fetchall():
        columns = "t.name" if name == "pg_settings" else "t::text"
        try:
            rows = connection.execute(f"SELECT {columns} FROM {schema}.{name} t").fetchall()
        except psycopg.Error as error:
            print(f"{schema}.{name}: REFUSED {error.sqlstate}")
            continue
        if name.startswith(("pg_stat_", "pg_statio_")):
            print(f"{schema}.{name}: answered")
            continue
        for row in rows:
            print(f"{schema}.{name}: {row[0]!r}")
