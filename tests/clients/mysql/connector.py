"""What MySQL's own connector for Python does, as PyPI has it, without its C part: host, port, user, password, database."""

import sys

import mysql.connector

host, port, user, password, database = sys.argv[1:]
connection = mysql.connector.connect(
    host=host,
    port=int(port),
    user=user,
    password=password,
    database=database,
    use_pure=True,
    time_zone="+00:00",
    sql_mode="TRADITIONAL,NO_ENGINE_SUBSTITUTION",
)
cursor = connection.cursor()
cursor.execute("SELECT id, name FROM customers WHERE name LIKE %s", ("%é%",))
cursor.fetchall()
cursor.close()
prepared = connection.cursor(prepared=True)
for customer in [1, 2]:
    prepared.execute("SELECT total FROM orders WHERE customer = %s", (customer,))
    prepared.fetchall()
prepared.close()
connection.get_warnings = True
warned = connection.cursor(dictionary=True)
warned.execute("SELECT CAST('x' AS UNSIGNED) AS n")
warned.fetchall()
warned.close()
connection.rollback()
connection.start_transaction(consistent_snapshot=True, isolation_level="READ COMMITTED")
connection.commit()
connection.autocommit = True
connection.set_charset_collation("latin1", "latin1_swedish_ci")
connection.set_charset_collation("utf8mb4", "utf8mb4_general_ci")
connection.ping(reconnect=False)
connection.cmd_reset_connection()
connection.database = database
assert connection.database == database
connection.close()
print("done")
