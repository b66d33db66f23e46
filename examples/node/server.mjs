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

function send(res, status, headers, body) {
  res.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  res.end(JSON.stringify(body));
}

const server = http.createServer(async (req, res) => {
  try {
    const values = [req.headers.authorization, req.headers['x-forwarded-for']];
    const { rows: [answer] } = await pool.query({ ...authenticate, values });
    console.log(answer.status, answer.key_id, answer.account);
    if (answer.status !== 'VALID') return send(res, answer.http_status, answer.headers, answer.error);
    send(res, 200, {}, { hello: answer.account });
  } catch (error) {
    console.error(error.message); // no database, no access
    send(res, 503, {}, { error: { code: 'UNAVAILABLE' } });
  }
}).listen(Number(process.env.PORT ?? 8080), '127.0.0.1');
process.on('SIGTERM', () => server.close(() => pool.end())); // when all requests have answers
