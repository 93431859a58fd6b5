import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Replays a file of statements (its head says how it is written) through the proxy and directly, and compares
 * every row: URL, user, password; the server's URL and user; the file. Prints a line for each statement that went
 * otherwise than the file says, then how many ran and how many were refused.
 */
class Replay {
    private record Step(String text, List<String> binds, Set<String> varying, String refused) {
        String name() {
            String line = text.replaceAll("\\s+", " ");
            return line.substring(0, Math.min(line.length(), 120));
        }
    }

    public static void main(String[] args) throws Exception {
        // As DBeaver connects: nothing is prepared at the server under a name.
        String parameters = "?prepareThreshold=0&ApplicationName=DBeaver";
        int ran = 0;
        int refused = 0;
        try (Connection proxy = DriverManager.getConnection(args[0] + parameters, args[1], args[2]);
                Connection server = DriverManager.getConnection(args[3] + parameters, args[4], "")) {
            for (Step step : steps(Files.readString(Path.of(args[5])))) {
                try {
                    List<String> found = rows(proxy, step);
                    ran++;
                    if (step.refused != null) {
                        System.out.println("NOT REFUSED " + step.name());
                        continue;
                    }
                    List<String> expected = rows(server, step);
                    found.removeAll(expected);
                    expected.removeAll(rows(proxy, step));
                    if (!found.isEmpty() || !expected.isEmpty()) {
                        System.out.println("OTHER ROWS " + step.name() + ": " + found + " for " + expected);
                    }
                } catch (SQLException error) {
                    refused++;
                    if (!error.getSQLState().equals(step.refused)) {
                        System.out.println("REFUSED " + step.name() + ": " + error.getSQLState() + " "
                                + error.getMessage());
                    }
                }
            }
        }
        System.out.println("ran " + ran + ", refused " + refused);
    }

    private static List<Step> steps(String file) {
        List<Step> steps = new ArrayList<>();
        for (String block : file.split("\n\n+")) {
            List<String> binds = new ArrayList<>();
            Set<String> varying = new HashSet<>();
            String refused = null;
            StringBuilder text = new StringBuilder();
            for (String line : block.split("\n")) {
                if (line.startsWith("-- oid ") || line.startsWith("-- int ") || line.startsWith("-- text ")) {
                    binds.add(line.substring(3));
                } else if (line.startsWith("-- varies ")) {
                    varying.add(line.substring(10));
                } else if (line.startsWith("-- refused ")) {
                    refused = line.split(" ")[2];
                } else if (!line.startsWith("--")) {
                    text.append(text.isEmpty() ? "" : "\n").append(line);
                }
            }
            if (!text.toString().isBlank()) {
                steps.add(new Step(text.toString(), binds, varying, refused));
            }
        }
        return steps;
    }

    private static List<String> rows(Connection connection, Step step) throws SQLException {
        List<String> found = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement(step.text)) {
            int at = 0;
            for (String bind : step.binds) {
                at++;
                if (bind.startsWith("text ")) {
                    statement.setString(at, bind.substring(5));
                } else if (bind.startsWith("int ")) {
                    statement.setInt(at, Integer.parseInt(bind.substring(4)));
                } else {
                    statement.setLong(at, oid(connection, bind.substring(4)));
                }
            }
            if (!statement.execute()) {
                return found;
            }
            ResultSet rows = statement.getResultSet();
            int columns = rows.getMetaData().getColumnCount();
            while (rows.next()) {
                StringBuilder row = new StringBuilder();
                for (int n = 1; n <= columns; n++) {
                    if (!step.varying.contains(rows.getMetaData().getColumnLabel(n))) {
                        row.append(rows.getString(n)).append('|');
                    }
                }
                found.add(row.toString());
            }
        }
        return found;
    }

    private static long oid(Connection connection, String expression) throws SQLException {
        try (var statement = connection.createStatement();
                ResultSet rows = statement.executeQuery("SELECT (" + expression + ")::oid")) {
            rows.next();
            return rows.getLong(1);
        }
    }
}
