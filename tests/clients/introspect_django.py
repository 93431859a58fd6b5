"""What Django sees of the database that libpq's variables name: a line a fact, or an error in its place."""

import io
import os
import re

import django
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, connection

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "PASSWORD": os.environ["PGPASSWORD"],
            "NAME": os.environ["PGDATABASE"],
            # Django then begins with set_config('TimeZone', …).
            "TIME_ZONE": "Europe/Berlin",
        }
    },
)
django.setup()


def tell(name, ask):
    try:
        found = ask()
    except (DatabaseError, CommandError) as error:
        print(f"{name}: REFUSED {str(error).splitlines()[0]}")
        return
    for fact in found if isinstance(found, list) else [found]:
        print(f"{name}: {fact}")


def command(*arguments, **options):
    def run():
        output = io.StringIO()
        call_command(*arguments, stdout=output, stderr=output, **options)
        # Its refusals stand in comments, in the words of who refused.
        return re.sub(r"(# The error was:).*?(?=\n#|\n\n|\Z)", r"\1", output.getvalue(), flags=re.S).splitlines()

    return run


tell("version", lambda: str(connection.pg_version))
introspection = connection.introspection
with connection.cursor() as cursor:
    tell("time zone", lambda: [cursor.execute("SHOW TimeZone"), cursor.fetchone()][1])
    tables = introspection.get_table_list(cursor)
    tell("tables", lambda: [repr(table) for table in tables])
    tell("names", lambda: introspection.table_names(cursor, include_views=True))
    for table in tables:
        for kind in ["table_description", "relations", "constraints", "sequences", "primary_key_columns"]:
            ask = getattr(introspection, f"get_{kind}")

            def asked():
                found = ask(cursor, table.name)
                return [f"{one}" for one in (found.items() if isinstance(found, dict) else found or [])]

            tell(f"{table.name} {kind}", asked)
tell("inspectdb", command("inspectdb", include_views=True, include_partitions=True))
tell("showmigrations", command("showmigrations"))
tell("plan", command("migrate", plan=True))
with connection.cursor() as cursor:
    tell("rows", lambda: [cursor.execute("SELECT * FROM items"), cursor.fetchall()][1])
