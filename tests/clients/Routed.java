import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;

/** pgjdbc whose reads go to replicas: URL, user, password. Says "done". The caller may WRITE orders, of which there are three. */
class Routed {
    public static void main(String[] args) throws Exception {
        try (Connection c = DriverManager.getConnection(args[0], args[1], args[2])) {
            String text = "SELECT status, ?::int AS pgjdbc FROM orders WHERE id = 3";
            try (PreparedStatement s = c.prepareStatement(text)) {
                for (int n = 0; n < 20; n++) {
                    s.setInt(1, n);
                    try (ResultSet rows = s.executeQuery()) {
                        rows.next();
                        is(rows.getString(1).equals("paid") && rows.getInt(2) == n, "row " + n);
                    }
                    // More texts than a small cache holds: names are closed.
                    is(count(c, "SELECT " + n % 5 + " + count(*) FROM orders") == 3 + n % 5, "text " + n);
                }
            }
            try (PreparedStatement s = c.prepareStatement("INSERT INTO orders VALUES (?, 'new')")) {
                for (int n = 0; n < 30; n++) {
                    s.setInt(1, 100 + n);
                    s.addBatch();
                    if (n % 10 == 9) {
                        s.executeBatch();
                        is(count(c, "SELECT count(*) FROM orders") == 4 + n, "batch " + n);
                    }
                }
            }
            c.setReadOnly(true);
            c.setAutoCommit(false);
            is(count(c, "SELECT count(*) FROM orders") == 33, "read only");
            c.commit();
            c.setReadOnly(false);
            c.setAutoCommit(true);
            c.createStatement().executeUpdate("DELETE FROM orders WHERE id >= 100");
        }
        System.out.println("done");
    }

    private static int count(Connection c, String text) throws Exception {
        try (PreparedStatement s = c.prepareStatement(text); ResultSet rows = s.executeQuery()) {
            rows.next();
            return rows.getInt(1);
        }
    }

    private static void is(boolean right, String what) {
        if (!right) {
            throw new IllegalStateException(what);
        }
    }
}
