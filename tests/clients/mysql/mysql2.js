// What mysql2 for Node does: host, port, user, password, database.
const mysql = require("mysql2/promise");
const [host, port, user, password, database] = process.argv.slice(2);
(async () => {
  const pool = mysql.createPool({ host, port: +port, user, password, database, connectionLimit: 2, timezone: "Z" });
  await pool.query("SELECT id, name FROM customers WHERE name LIKE ?", ["%é'\\%"]);
  await pool.execute("SELECT total FROM orders WHERE customer = ? AND placed < ?", [1, new Date(0)]);
  const connection = await pool.getConnection();
  await connection.ping();
  await connection.beginTransaction();
  await connection.query("SELECT COUNT(*) FROM totals");
  await connection.rollback();
  await connection.beginTransaction();
  await connection.commit();
  await connection.query({ sql: "SELECT * FROM orders JOIN customers ON orders.customer = customers.id", nestTables: "_" });
  await connection.changeUser({ user, password, database });
  await connection.reset?.();
  connection.release();
  await pool.end();
  console.log("done");
})().catch(error => { console.error(error); process.exit(1); });
