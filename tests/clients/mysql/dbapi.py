"""What PyMySQL does, or mysqlclient under its name: host, port, user, password, database, module."""

import importlib
import sys

host, port, user, password, database, module = sys.argv[1:]
driver = importlib.import_module(module)
connection = driver.connect(
    host=host, port=int(port), user=user, password=password, database=database, charset="utf8mb4", autocommit=True
)
connection.ping()
cursor = connection.cursor()
cursor.execute("SELECT id, name FROM customers WHERE name LIKE %s", ("%é\"'\\%",))
cursor.fetchall()
cursor.execute("SELECT total FROM totals WHERE customer IN %s", ((1, 2),))
cursor.fetchall()
connection.show_warnings()
connection.autocommit(False)
connection.begin()
cursor.execute("SELECT COUNT(*) FROM orders")
connection.rollback()
connection.commit()
connection.select_db(database)
dictionary = connection.cursor(driver.cursors.SSDictCursor)
dictionary.execute("SELECT * FROM orders")
dictionary.fetchall()
dictionary.close()
connection.set_character_set("utf8mb4")
cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
print("done")
connection.close()
