import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.Executors;
import org.postgresql.ds.PGSimpleDataSource;

/** An API whose callers have API keys: see README.md. */
final class Server {
    public static void main(String[] arguments) throws IOException {
        System.setProperty("sun.net.httpserver.nodelay", "true"); // else each answer takes 40 ms
        ApiKeys keys = new ApiKeys(database());
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8080"));
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        server.setExecutor(Executors.newFixedThreadPool(32));

        // Open to everybody. Whether this service can answer depends on the database.
        server.createContext("/health", ApiKeys.open(exchange -> {
            keys.ask(true, "SELECT 1", row -> null);
            ApiKeys.send(exchange, 200, "{\"status\": \"ok\"}");
        }));

        server.createContext("/v1/tasks/", keys.guarded(null, 1, (exchange, caller) -> {
            String id = exchange.getRequestURI().getPath().substring("/v1/tasks/".length());
            if (!exchange.getRequestMethod().equals("GET")) {
                exchange.sendResponseHeaders(405, -1);
            } else {
                ApiKeys.send(exchange, 200, ApiKeys.GSON.toJson(
                    Map.of("id", id, "account", caller.account(), "status", "done")));
            }
        }));

        server.createContext("/v1/tasks", keys.guarded("tasks:write", 0, (exchange, caller) -> {
            if (!exchange.getRequestMethod().equals("POST")) {
                exchange.sendResponseHeaders(405, -1);
                return;
            }
            Map<String, Object> task = keys.asTask(caller, tasks -> {
                // Here the task does its work.
                Map<String, Object> done = new LinkedHashMap<>();
                done.put("id", UUID.randomUUID());
                done.put("account", caller.account());
                done.put("status", "done");
                done.put("running", tasks.running());
                done.put("allowed", tasks.allowed());
                return done;
            });
            ApiKeys.send(exchange, 201, ApiKeys.GSON.toJson(task));
        }));

        server.start();
        // Lets requests end for 2 seconds.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(2)));
    }

    private static PGSimpleDataSource database() {
        Map<String, String> variables = System.getenv();
        PGSimpleDataSource database = new PGSimpleDataSource();
        database.setServerNames(new String[] {variables.getOrDefault("PGHOST", "localhost")});
        database.setPortNumbers(new int[] {Integer.parseInt(variables.getOrDefault("PGPORT", "5432"))});
        database.setUser(variables.getOrDefault("PGUSER", System.getProperty("user.name")));
        database.setDatabaseName(variables.getOrDefault("PGDATABASE", database.getUser()));
        database.setPassword(variables.get("PGPASSWORD"));
        // A database that hangs must not hold requests for long; in seconds.
        database.setConnectTimeout(5);
        database.setSocketTimeout(5);
        // The details of an error can have the parameters of the statement.
        database.setLogServerErrorDetail(false);
        // pgbouncer before 1.21 mixes up named statements in transaction mode: see docs/poolers.md.
        if (variables.containsKey("UNNAMED_STATEMENTS")) database.setPrepareThreshold(0);
        return database;
    }
}
