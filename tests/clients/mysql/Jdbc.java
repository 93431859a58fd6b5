import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.util.concurrent.Callable;

/** What a driver of Java does: URL, user, password, database. */
class Jdbc {
    public static void main(String[] args) throws Exception {
        var database = args[3];
        try (var connection = DriverManager.getConnection(args[0], args[1], args[2])) {
            connection.isValid(5);
            try (var statement = connection.prepareStatement("SELECT id, name FROM customers WHERE name LIKE ?")) {
                statement.setString(1, "%é'\\%");
                read(statement.executeQuery());
            }
            connection.setAutoCommit(false);
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            connection.setReadOnly(true);
            var point = connection.setSavepoint("point");
            try (var statement = connection.createStatement()) {
                statement.setMaxRows(1);
                statement.setFetchSize(1);
                statement.setQueryTimeout(30);
                read(statement.executeQuery("SELECT * FROM orders"));
                statement.getWarnings();
            }
            connection.rollback(point);
            connection.commit();
            connection.setReadOnly(false);
            connection.setAutoCommit(true);
            connection.setCatalog(database);
            connection.getCatalog();
            connection.getWarnings();
            var data = connection.getMetaData();
            ask("catalogs", data::getCatalogs);
            ask("schemas", data::getSchemas);
            ask("types", data::getTableTypes);
            ask("type info", data::getTypeInfo);
            ask("client info", data::getClientInfoProperties);
            ask("tables", () -> data.getTables(database, null, "%", null));
            ask("columns", () -> data.getColumns(database, null, "%", "%"));
            ask("keys", () -> data.getPrimaryKeys(database, null, "orders"));
            ask("imported", () -> data.getImportedKeys(database, null, "orders"));
            ask("exported", () -> data.getExportedKeys(database, null, "customers"));
            ask("crossed", () -> data.getCrossReference(database, null, "customers", database, null, "orders"));
            ask("indexes", () -> data.getIndexInfo(database, null, "orders", false, true));
            ask("best row", () -> data.getBestRowIdentifier(database, null, "orders", 0, true));
            ask("versions", () -> data.getVersionColumns(database, null, "orders"));
            ask("procedures", () -> data.getProcedures(database, null, "%"));
            ask("procedure columns", () -> data.getProcedureColumns(database, null, "%", "%"));
            ask("functions", () -> data.getFunctions(database, null, "%"));
            ask("function columns", () -> data.getFunctionColumns(database, null, "%", "%"));
            ask("table privileges", () -> data.getTablePrivileges(database, null, "%"));
            ask("column privileges", () -> data.getColumnPrivileges(database, null, "orders", "%"));
            ask("version", () -> {
                data.getDatabaseProductVersion();
                data.getUserName();
                data.getDefaultTransactionIsolation();
                data.getSQLKeywords();
                return null;
            });
            connection.setNetworkTimeout(Runnable::run, 10_000);
            connection.setClientInfo("ApplicationName", "test");
        }
        System.out.println("done");
    }

    private static void read(ResultSet rows) throws Exception {
        while (rows.next()) {
            rows.getString(1);
        }
        rows.close();
    }

    private static void ask(String name, Callable<ResultSet> question) {
        try {
            var rows = question.call();
            if (rows != null) {
                read(rows);
            }
        } catch (Exception error) {
            System.out.println(name + ": " + error.getMessage().lines().findFirst().orElse(""));
        }
    }
}
