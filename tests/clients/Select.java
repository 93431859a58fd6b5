import java.sql.DriverManager;

/** Runs statements through pgjdbc, the extended protocol: URL, user, password, statements. */
class Select {
    public static void main(String[] args) throws Exception {
        try (var connection = DriverManager.getConnection(args[0], args[1], args[2])) {
            for (int i = 3; i < args.length; i++) {
                try (var statement = connection.prepareStatement(args[i])) {
                    if (!statement.execute()) {
                        System.out.println(statement.getUpdateCount());
                        continue;
                    }
                    var rows = statement.getResultSet();
                    while (rows.next()) {
                        System.out.println(rows.getString(1));
                    }
                } catch (java.sql.SQLException error) {
                    System.out.println(error.getSQLState() + " " + error.getMessage());
                }
            }
        }
    }
}
