"""What Django asks: host, port, user, password, database."""

import io
import sys

import pymysql

pymysql.version_info = (2, 2, 8, "final", 0)
pymysql.install_as_MySQLdb()

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction

host, port, user, password, database = sys.argv[1:]
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    USE_TZ=True,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": host,
            "PORT": int(port),
            "USER": user,
            "PASSWORD": password,
            "NAME": database,
        }
    },
)
django.setup()


class Customer(models.Model):
    name = models.CharField(max_length=40)

    class Meta:
        app_label = "shop"
        db_table = "customers"


introspection = connection.introspection
with connection.cursor() as cursor:
    tables = introspection.get_table_list(cursor)
    assert {table.name for table in tables} >= {"customers", "orders", "totals"}, tables
    for table in tables:
        for kind in ["table_description", "relations", "constraints", "sequences", "primary_key_columns", "storage_engine"]:
            getattr(introspection, f"get_{kind}")(cursor, table.name)
call_command("inspectdb", include_views=True, stdout=io.StringIO())
call_command("showmigrations", stdout=io.StringIO())
call_command("migrate", plan=True, stdout=io.StringIO())
call_command("check", databases=["default"], stdout=io.StringIO())
with transaction.atomic():
    assert Customer.objects.filter(name__contains="%é").count() == 0
    with transaction.atomic():
        list(Customer.objects.order_by("name").iterator(chunk_size=1))
Customer.objects.filter(pk=1).explain()
print("done")
