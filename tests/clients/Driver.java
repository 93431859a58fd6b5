import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.PGStatement;
import org.postgresql.util.PSQLException;

/**
 * What pgjdbc does, in one virtual machine: URL, user, password. Prints a line a check, "ok NAME" or "FAILED NAME"
 * with the reason. The caller may READ orders and items, WRITE notes, and do nothing with customers.
 */
class Driver {
    private static String url;
    private static String user;
    private static String password;

    private interface Check {
        void run() throws Exception;
    }

    public static void main(String[] args) {
        url = args[0];
        user = args[1];
        password = args[2];
        check("simple", Driver::simple);
        check("prepared", Driver::prepared);
        check("types", Driver::types);
        check("fetch", Driver::fetch);
        check("batch", Driver::batch);
        check("rewritten batch", Driver::rewrittenBatch);
        check("generated keys", Driver::generatedKeys);
        check("copy", Driver::copy);
        check("metadata", Driver::metadata);
        check("session", Driver::session);
        check("denial", Driver::denial);
        check("transaction", Driver::transaction);
        check("autosave", Driver::autosave);
        check("cancel", Driver::cancel);
        check("timeout", Driver::timeout);
        check("notification", Driver::notification);
        // Whatever went wrong above may have left a thread.
        System.exit(0);
    }

    private static void check(String name, Check check) {
        try {
            check.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            System.out.println("FAILED " + name + ": " + error);
            error.printStackTrace();
        }
    }

    private static Connection connect(String... parameters) throws SQLException {
        return DriverManager.getConnection(url + "?" + String.join("&", parameters), user, password);
    }

    private static void same(Object expected, Object found) {
        if (!String.valueOf(expected).equals(String.valueOf(found))) {
            throw new AssertionError("expected " + expected + ", found " + found);
        }
    }

    private static List<String> strings(ResultSet rows, String column) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) {
            found.add(rows.getString(column));
        }
        return found;
    }

    private static String one(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(text)) {
            rows.next();
            return rows.getString(1);
        }
    }

    private static PSQLException refused(String state, Check check) throws Exception {
        try {
            check.run();
        } catch (PSQLException error) {
            same(state, error.getSQLState());
            return error;
        }
        throw new AssertionError("not refused with " + state);
    }

    private static void simple() throws Exception {
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection connection = connect("preferQueryMode=" + mode)) {
                same("100", one(connection, "SELECT count(*) FROM orders"));
                try (Statement statement = connection.createStatement()) {
                    same(true, statement.execute("SELECT 1; SELECT total FROM orders WHERE id = 2"));
                    same(true, statement.getMoreResults());
                    same(List.of("20"), strings(statement.getResultSet(), "total"));
                }
            }
        }
    }

    private static void prepared() throws Exception {
        try (Connection connection = connect("prepareThreshold=3");
                PreparedStatement statement =
                        connection.prepareStatement("SELECT total FROM orders WHERE id = ?")) {
            for (int id = 1; id <= 8; id++) {
                statement.setInt(1, id);
                same(List.of(id * 10), strings(statement.executeQuery(), "total"));
                // Whether the next execution is of a statement that the server has prepared.
                same(id + 1 >= 3, statement.unwrap(PGStatement.class).isUseServerPrepare());
            }
            same(1, statement.getMetaData().getColumnCount());
            same("int4", statement.getParameterMetaData().getParameterTypeName(1));
        }
    }

    private static void types() throws Exception {
        try (Connection connection = connect("prepareThreshold=-1"); // binary from the first time on
                PreparedStatement statement = connection.prepareStatement(
                        "SELECT mood, amount, tags, at FROM items WHERE tags && ? AND mood = ?::mood")) {
            statement.setArray(1, connection.createArrayOf("text", new Object[] {"red", "none"}));
            statement.setString(2, "ok");
            try (ResultSet rows = statement.executeQuery()) {
                same(true, rows.next());
                same("ok", rows.getObject("mood"));
                same(3, rows.getInt("amount"));
                same("red", ((String[]) rows.getArray("tags").getArray())[0]);
                same("2026-01-02T03:04:05Z", rows.getObject("at", java.time.OffsetDateTime.class).toInstant());
                same("mood", rows.getMetaData().getColumnTypeName(1));
                same("items", rows.getMetaData().getTableName(1));
            }
        }
    }

    private static void fetch() throws Exception {
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            try (PreparedStatement statement = connection.prepareStatement("SELECT id FROM orders ORDER BY id")) {
                statement.setFetchSize(7);
                ResultSet rows = statement.executeQuery();
                for (int id = 1; id <= 100; id++) {
                    same(true, rows.next());
                    same(id, rows.getInt(1));
                }
                same(false, rows.next());
                // One that is left half-way: its portal is closed beside what comes next.
                rows = statement.executeQuery();
                same(true, rows.next());
                rows.close();
                same("100", one(connection, "SELECT count(*) FROM orders"));
            }
            connection.commit();
        }
    }

    private static int sum(int[] counts) {
        int sum = 0;
        for (int count : counts) {
            sum += count;
        }
        return sum;
    }

    private static void addNotes(Connection connection, String text, int count) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement("INSERT INTO notes (text) VALUES (?)")) {
            for (int n = 0; n < count; n++) {
                statement.setString(1, text);
                statement.addBatch();
            }
            int[] counts = statement.executeBatch();
            same(count, counts.length);
        }
        same(count, one(connection, "SELECT count(*) FROM notes WHERE text = '" + text + "'"));
    }

    private static void batch() throws Exception {
        try (Connection connection = connect()) {
            addNotes(connection, "batch", 300);
            try (Statement statement = connection.createStatement()) {
                statement.addBatch("UPDATE notes SET text = 'batched' WHERE text = 'batch'");
                statement.addBatch("DELETE FROM notes WHERE text = 'batched'");
                same(600, sum(statement.executeBatch()));
            }
        }
    }

    private static void rewrittenBatch() throws Exception {
        try (Connection connection = connect("reWriteBatchedInserts=true")) {
            addNotes(connection, "rewritten", 300);
        }
    }

    private static void generatedKeys() throws Exception {
        try (Connection connection = connect();
                PreparedStatement statement = connection.prepareStatement(
                        "INSERT INTO notes (text) VALUES ('key')", Statement.RETURN_GENERATED_KEYS)) {
            same(1, statement.executeUpdate());
            try (ResultSet keys = statement.getGeneratedKeys()) {
                same(true, keys.next());
                same(true, keys.getInt("id") > 0);
            }
        }
    }

    private static void copy() throws Exception {
        try (Connection connection = connect()) {
            var copies = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder rows = new StringBuilder();
            for (int n = 0; n < 20_000; n++) {
                rows.append(100_000 + n).append("\tcopied\n");
            }
            same(20_000, copies.copyIn("COPY notes (id, text) FROM STDIN", new StringReader(rows.toString())));
            var out = new ByteArrayOutputStream();
            String text = "COPY (SELECT id, text FROM notes WHERE text = 'copied' ORDER BY id) TO STDOUT";
            same(20_000, copies.copyOut(text, out));
            same(true, rows.toString().equals(out.toString()));
            // A client that breaks off, and one that is refused.
            var broken = copies.copyIn("COPY notes (id, text) FROM STDIN");
            broken.writeToCopy("200000\tbroken\n".getBytes(), 0, 14);
            broken.cancelCopy();
            same("0", one(connection, "SELECT count(*) FROM notes WHERE text = 'broken'"));
            refused("42501", () -> copies.copyOut("COPY customers TO STDOUT", new ByteArrayOutputStream()));
            refused("42501", () -> copies.copyIn("COPY orders FROM STDIN", new StringReader("1")));
            same("1", one(connection, "SELECT 1"));
        }
    }

    private static void metadata() throws Exception {
        try (Connection connection = connect()) {
            var data = connection.getMetaData();
            same("PostgreSQL", data.getDatabaseProductName());
            same(true, strings(data.getSchemas(), "TABLE_SCHEM").contains("public"));
            same(true, strings(data.getCatalogs(), "TABLE_CAT").contains("shop"));
            String[] kinds = {"TABLE"};
            same("[items, orders]", strings(data.getTables(null, "public", "%s", kinds), "TABLE_NAME")
                    .stream().filter(name -> name.equals("items") || name.equals("orders")).toList());
            same("[id, customer_id, status, total]",
                    strings(data.getColumns(null, "public", "orders", "%"), "COLUMN_NAME"));
            same("[order_id, n]", strings(data.getPrimaryKeys(null, "public", "items"), "COLUMN_NAME"));
            same("[orders]", strings(data.getImportedKeys(null, "public", "items"), "PKTABLE_NAME"));
            same("[items]", strings(data.getExportedKeys(null, "public", "orders"), "FKTABLE_NAME"));
            same("[orders]",
                    strings(data.getCrossReference(null, "public", "orders", null, "public", "items"), "PKTABLE_NAME"));
            same(true, strings(data.getIndexInfo(null, "public", "items", false, true), "INDEX_NAME")
                    .contains("items_by_mood"));
            same(true, strings(data.getTypeInfo(), "TYPE_NAME").contains("mood"));
            same("[positive]", strings(data.getUDTs(null, "public", "positive", null), "TYPE_NAME"));
            same("[doubled]", strings(data.getFunctions(null, "public", "doubled"), "FUNCTION_NAME"));
            strings(data.getFunctionColumns(null, "public", "doubled", "%"), "COLUMN_NAME");
            strings(data.getProcedures(null, "public", "%"), "PROCEDURE_NAME");
            strings(data.getProcedureColumns(null, "public", "%", "%"), "COLUMN_NAME");
            strings(data.getTablePrivileges(null, "public", "orders"), "GRANTEE");
            strings(data.getColumnPrivileges(null, "public", "orders", "%"), "GRANTEE");
            same("[id]", strings(data.getBestRowIdentifier(null, "public", "orders", 0, true), "COLUMN_NAME"));
            strings(data.getVersionColumns(null, "public", "orders"), "COLUMN_NAME");
            strings(data.getTableTypes(), "TABLE_TYPE");
            strings(data.getClientInfoProperties(), "NAME");
            same(true, data.getSQLKeywords().contains("analyse"));
            same(true, data.getMaxColumnNameLength() > 0);
            same(0, data.getMaxStatements());
            same(Connection.TRANSACTION_READ_COMMITTED, data.getDefaultTransactionIsolation());
            same(user.isEmpty(), data.getUserName().isEmpty());
        }
    }

    private static void session() throws Exception {
        try (Connection connection = connect("ApplicationName=a test", "options=-c%20extra_float_digits=2")) {
            same("a test", one(connection, "SHOW application_name"));
            same("public", connection.getSchema());
            connection.setSchema("other");
            same("other", connection.getSchema());
            same("shop", connection.getCatalog());
            same(true, connection.isValid(5));
            connection.setClientInfo("ApplicationName", "renamed");
            same("renamed", one(connection, "SHOW application_name"));
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            same(Connection.TRANSACTION_SERIALIZABLE, connection.getTransactionIsolation());
            connection.setAutoCommit(false);
            same("on", one(connection, "SHOW transaction_read_only"));
            connection.rollback();
        }
    }

    private static void denial() throws Exception {
        try (Connection connection = connect("prepareThreshold=1");
                PreparedStatement statement =
                        connection.prepareStatement("SELECT email FROM customers WHERE id = ?")) {
            for (int n = 0; n < 3; n++) {
                statement.setInt(1, n);
                var said = refused("42501", statement::executeQuery).getServerErrorMessage();
                same(true, said.getMessage().contains("SELECT (email, id) ON public.customers"));
                same(true, said.getDetail().contains("Your live grants allow"));
                same(true, said.getHint().contains("daypass request create --database shop"));
                same("100", one(connection, "SELECT count(*) FROM orders"));
            }
            // Nothing of a batch with a refused statement is kept, as when the server refuses it.
            try (Statement batch = connection.createStatement()) {
                batch.addBatch("INSERT INTO notes (text) VALUES ('half')");
                batch.addBatch("DELETE FROM customers");
                try {
                    batch.executeBatch();
                    throw new AssertionError("not refused");
                } catch (java.sql.BatchUpdateException error) {
                    same("42501", error.getSQLState());
                }
            }
            same("0", one(connection, "SELECT count(*) FROM notes WHERE text = 'half'"));
        }
    }

    private static void transaction() throws Exception {
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.executeUpdate("INSERT INTO notes (text) VALUES ('lost')");
                refused("42501", () -> statement.executeQuery("SELECT * FROM customers"));
                refused("25P02", () -> statement.executeQuery("SELECT 1"));
                connection.rollback();
                same("0", one(connection, "SELECT count(*) FROM notes WHERE text = 'lost'"));
                var savepoint = connection.setSavepoint();
                refused("42501", () -> statement.executeQuery("SELECT * FROM customers"));
                connection.rollback(savepoint);
                statement.executeUpdate("INSERT INTO notes (text) VALUES ('kept')");
                connection.commit();
                same("1", one(connection, "SELECT count(*) FROM notes WHERE text = 'kept'"));
            }
        }
    }

    private static void autosave() throws Exception {
        for (String mode : new String[] {"always", "conservative"}) {
            try (Connection connection = connect("autosave=" + mode)) {
                connection.setAutoCommit(false);
                try (Statement statement = connection.createStatement()) {
                    statement.executeUpdate("INSERT INTO notes (text) VALUES ('" + mode + "')");
                    refused("42501", () -> statement.executeQuery("SELECT * FROM customers"));
                    // A statement that is refused never fails for a stale plan, which is all that
                    // `conservative` rolls back for.
                    if (mode.equals("conservative")) {
                        refused("25P02", () -> statement.executeQuery("SELECT 1"));
                        connection.rollback();
                    } else {
                        same("1", one(connection, "SELECT count(*) FROM notes WHERE text = 'always'"));
                        connection.commit();
                    }
                }
            }
        }
    }

    private static void cancel() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            var failed = new PSQLException[1];
            Thread running = new Thread(() -> {
                try {
                    statement.executeQuery("SELECT pg_sleep(600)");
                } catch (PSQLException error) {
                    failed[0] = error;
                } catch (SQLException error) {
                    error.printStackTrace();
                }
            });
            running.start();
            // One that comes before the statement does has nothing to cancel.
            while (running.isAlive()) {
                statement.cancel();
                running.join(50);
            }
            same("57014", failed[0].getSQLState());
            same("1", one(connection, "SELECT 1"));
        }
    }

    private static void timeout() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            statement.setQueryTimeout(1);
            refused("57014", () -> statement.executeQuery("SELECT pg_sleep(600)"));
            same("1", one(connection, "SELECT 1"));
        }
    }

    private static void notification() throws Exception {
        try (Connection listens = connect(); Connection speaks = connect()) {
            listens.createStatement().execute("LISTEN news");
            try (PreparedStatement statement = speaks.prepareStatement("SELECT pg_notify('news', ?)")) {
                statement.setString(1, "hello");
                statement.execute();
            }
            var heard = listens.unwrap(PGConnection.class).getNotifications(20_000);
            same("hello", heard[0].getParameter());
        }
    }
}
