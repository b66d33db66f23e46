import com.google.gson.Gson;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.function.Function;
import javax.sql.DataSource;

/**
 * Guards the routes of the JDK's HTTP server with API keys. Copy this file: it needs a DataSource,
 * HikariCP and Gson, and nothing else of this example.
 */
final class ApiKeys {
    // The headers are bind parameters: they never become part of the SQL text.
    private static final String AUTHENTICATE = """
        SELECT CAST(status AS text) AS status, http_status, key_id, account, request_id, headers, error
          FROM keys.vpk_authenticate(CAST(? AS text), scope => CAST(? AS text),
                                     request_id => CAST(? AS text),
                                     client_ip => keys.vpk_client_ip(CAST(? AS text)),
                                     cost => CAST(CAST(? AS text) AS integer))""";
    private static final String START_TASK = """
        SELECT CAST(status AS text) AS status, http_status, lease, running, allowed, headers, error
          FROM keys.vpk_task_start(CAST(? AS text), request_id => CAST(? AS text),
                                   client_ip => keys.vpk_client_ip(CAST(? AS text)))""";
    private static final String FINISH_TASK = "SELECT keys.vpk_task_finish(CAST(? AS uuid))";

    /** What a new connection can mend: this one was lost, or what it has prepared is not valid. */
    private static final String MENDABLE = "0A000|26000|42P05|57P0[123]|08...";

    static final Gson GSON = new Gson();

    /** Who calls. */
    record Caller(String account, String requestId, String token, String address) {}

    /** How many tasks of the account run, and how many may; null for any number. */
    record Tasks(UUID lease, int running, Integer allowed) {}

    /** A route that needs a key. */
    interface Route {
        void handle(HttpExchange exchange, Caller caller) throws IOException, Denied;
    }

    /** A request that gets this answer instead of a route's. */
    @SuppressWarnings("serial") // it is never written
    static final class Denied extends Exception {
        private final int status;
        private final Map<String, String> headers;
        private final String body;

        Denied(int status, Map<String, String> headers, String body) {
            super(null, null, false, false);
            this.status = status;
            this.headers = headers;
            this.body = body;
        }
    }

    interface Reader<T> {
        T read(ResultSet row) throws SQLException, Denied;
    }

    private final DataSource database;
    private final HikariDataSource pool;

    ApiKeys(DataSource database) {
        HikariConfig config = new HikariConfig();
        config.setDataSource(database);
        config.setConnectionTimeout(5000); // in milliseconds
        config.setInitializationFailTimeout(-1); // starts without the database
        this.database = database;
        this.pool = new HikariDataSource(config);
    }

    /**
     * Lets nobody without a key reach the route, nor without the scope, if it is not null. The cost
     * is what a request takes of rate limits and quotas: 0 if it starts a task, since asTask takes
     * it then.
     */
    HttpHandler guarded(String scope, int cost, Route route) {
        // The caller is an argument: in the JDK, requests share the attributes of their context.
        return open(exchange -> {
            Caller caller = authenticate(exchange, scope, cost);
            exchange.getResponseHeaders().set("X-Request-Id", caller.requestId());
            route.handle(exchange, caller);
        });
    }

    interface Open {
        void handle(HttpExchange exchange) throws IOException, Denied;
    }

    /** A route that is open to everybody, and may be denied all the same. */
    static HttpHandler open(Open route) {
        return exchange -> {
            try {
                route.handle(exchange);
            } catch (Denied denied) {
                denied.headers.forEach(exchange.getResponseHeaders()::set);
                send(exchange, denied.status, denied.body);
            } finally {
                exchange.close();
            }
        };
    }

    static void send(HttpExchange exchange, int status, String json) throws IOException {
        byte[] body = json.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
    }

    private Caller authenticate(HttpExchange exchange, String scope, int cost) throws Denied {
        String authorization = header(exchange, "Authorization");
        // The proxy in front of this service adds the client's address to X-Forwarded-For. Without
        // a proxy, take exchange.getRemoteAddress() instead: a client can send that header too.
        String address = header(exchange, "X-Forwarded-For");
        return ask(true, AUTHENTICATE, row -> {
            System.out.println(row.getString("status") + " " + row.getString("key_id") + " "
                + row.getString("account") + " " + row.getString("request_id"));
            denyUnlessValid(row);
            String[] words = authorization.trim().split(" ");
            return new Caller(row.getString("account"), row.getString("request_id"),
                words[words.length - 1], address);
        }, authorization, scope, header(exchange, "X-Request-Id"), address, String.valueOf(cost));
    }

    /** No text of SQL has a NUL; in a header it may be taken for a space (RFC 9110). */
    private static String header(HttpExchange exchange, String name) {
        List<String> values = exchange.getRequestHeaders().get(name);
        return values == null ? null : String.join(", ", values).replace('\0', ' ');
    }

    /**
     * Does the work as one of the concurrent tasks that the account's plan allows. It costs 1 of
     * rate limits and quotas. The start is asked once: if its answer is lost, the task may have
     * started. Its lease ends after 15 minutes then.
     */
    <T> T asTask(Caller caller, Function<Tasks, T> work) throws Denied {
        Tasks tasks = ask(false, START_TASK, row -> {
            denyUnlessValid(row);
            return new Tasks(row.getObject("lease", UUID.class), row.getInt("running"),
                row.getObject("allowed", Integer.class));
        }, caller.token(), caller.requestId(), caller.address());
        try {
            return work.apply(tasks);
        } finally {
            try {
                ask(true, FINISH_TASK, row -> null, tasks.lease().toString());
            } catch (Denied denied) {
                // It is in the log, and the lease ends by itself.
            }
        }
    }

    private static void denyUnlessValid(ResultSet row) throws SQLException, Denied {
        if ("VALID".equals(row.getString("status"))) return;
        @SuppressWarnings("unchecked")
        Map<String, String> headers = GSON.fromJson(row.getString("headers"), Map.class);
        throw new Denied(row.getInt("http_status"), headers, row.getString("error"));
    }

    /**
     * Asks the database; if allowed, once more on a new connection where that can help. So allow it
     * only for what can be repeated without harm.
     */
    <T> T ask(boolean again, String sql, Reader<T> reader, String... values) throws Denied {
        try {
            try (Connection connection = pool.getConnection()) {
                try {
                    return read(connection, sql, reader, values);
                } catch (SQLException error) {
                    if (!again || !String.valueOf(error.getSQLState()).matches(MENDABLE)) throw error;
                    System.err.println("asking again: " + error.getMessage());
                    pool.evictConnection(connection);
                }
            }
            // The pool's other connections may be as old.
            try (Connection connection = database.getConnection()) {
                return read(connection, sql, reader, values);
            }
        } catch (SQLException error) { // without an answer from the database there is no access
            System.err.println(error.getSQLState() + " " + error.getMessage());
            throw new Denied(503, Map.of(), GSON.toJson(Map.of("error", Map.of("code", "UNAVAILABLE",
                "message", "The service is temporarily unavailable"))));
        }
    }

    private static <T> T read(Connection connection, String sql, Reader<T> reader, String... values)
            throws SQLException, Denied {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < values.length; i++) statement.setString(i + 1, values[i]);
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return reader.read(rows);
            }
        }
    }
}
