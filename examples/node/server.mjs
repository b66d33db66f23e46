// A minimal HTTP server that asks PostgreSQL who calls. Run:
//   npm install && PGHOST=... PGDATABASE=... PGUSER=... node server.mjs
import http from 'node:http';
import pg from 'pg';

const pool = new pg.Pool(); // PGHOST, PGDATABASE, PGUSER, ... say where
pool.on('error', (error) => console.error('idle connection lost:', error.message));

// The headers are bind parameters: they never become part of the SQL text. The proxy in front of
// this service adds the client's address to X-Forwarded-For. Without a proxy, pass
// req.socket.remoteAddress instead: a client can send that header too.
const authenticate = {
  name: 'authenticate',
  text: `SELECT status::text, http_status, key_id, account, headers, error
           FROM keys.vpk_authenticate($1::text, client_ip => keys.vpk_client_ip($2::text))`,
};

// What a new connection can mend: this one was lost, or what it has prepared is no longer valid.
// The query changes nothing, so that it can be asked again.
const mendable = /^(0A000|26000|42P05|57P0[123]|08...)$/;

async function ask(values) {
  const query = () => ({ ...authenticate, values }); // anew, since pg keeps its notes in it
  try {
    return (await pool.query(query())).rows[0]; // on an error, the pool closes the connection
  } catch (error) {
    if (error instanceof pg.DatabaseError && !mendable.test(error.code)) throw error;
    console.error('asking again:', error.message);
  }
  const client = new pg.Client(); // the pool's other connections may be as old
  try {
    await client.connect();
    return (await client.query(query())).rows[0];
  } finally {
    client.end().catch(() => {});
  }
}

function send(res, status, headers, body) {
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  res.end(JSON.stringify(body));
}

const server = http.createServer(async (req, res) => {
  try {
    const answer = await ask([req.headers.authorization, req.headers['x-forwarded-for']]);
    console.log(answer.status, answer.key_id, answer.account);
    if (answer.status !== 'VALID') return send(res, answer.http_status, answer.headers, answer.error);
    send(res, 200, {}, { hello: answer.account });
  } catch (error) {
    console.error(error.message); // no database, no access
    send(res, 503, {}, { error: { code: 'UNAVAILABLE' } });
  }
}).listen(Number(process.env.PORT ?? 8080), '127.0.0.1');
process.on('SIGTERM', () => server.close(() => pool.end())); // when all requests have answers
