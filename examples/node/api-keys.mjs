// Guards the routes of a Fastify application with API keys. Copy this file: it needs a pool of
// node-postgres, and nothing else of this example.
import pg from 'pg';

// pgbouncer before 1.21 mixes up named statements in transaction mode: see docs/poolers.md.
const named = !process.env.UNNAMED_STATEMENTS;

// The headers are bind parameters: they never become part of the SQL text.
const AUTHENTICATE = {
  name: named ? 'authenticate' : undefined,
  text: `SELECT status::text, http_status, key_id, account, request_id, headers, error
           FROM keys.vpk_authenticate($1::text, scope => $2::text, request_id => $3::text,
                                      client_ip => keys.vpk_client_ip($4::text))`,
};
const START_TASK = `SELECT status::text, http_status, lease, running, allowed, headers, error
                      FROM keys.vpk_task_start($1::text, request_id => $2::text,
                                               client_ip => keys.vpk_client_ip($3::text))`;
const FINISH_TASK = { text: 'SELECT keys.vpk_task_finish($1::uuid)' };

// Without an answer from the database there is no access.
export const UNAVAILABLE = {
  status: 'UNAVAILABLE', http_status: 503, headers: {},
  error: { error: { code: 'UNAVAILABLE', message: 'The service is temporarily unavailable' } },
};

// What a new connection can mend: this one was lost, or what it has prepared is no longer valid.
const mendable = /^(0A000|26000|42P05|57P0[123]|08...)$/;

// Asks the database, and once more on a new connection where that can help: so only what can be
// repeated without harm.
export async function ask(pool, query, values = []) {
  try {
    return (await pool.query({ ...query, values })).rows[0]; // on an error, it closes the connection
  } catch (error) {
    if (error instanceof pg.DatabaseError && !mendable.test(error.code)) throw error;
    console.error('asking again:', error.message);
  }
  const client = new pg.Client(pool.options); // the pool's other connections may be as old
  try {
    await client.connect();
    return (await client.query({ ...query, values })).rows[0];
  } finally {
    client.end().catch(() => {});
  }
}

// Who calls, or why not. The proxy in front of this service adds the client's address to
// X-Forwarded-For. Without a proxy, pass request.socket.remoteAddress instead: a client can send
// that header too.
export async function authenticate(pool, headers, scope) {
  const values = [headers.authorization, scope, headers['x-request-id'], headers['x-forwarded-for']];
  try {
    const answer = await ask(pool, AUTHENTICATE, values);
    console.log(answer.status, answer.key_id, answer.account, answer.request_id);
    return answer;
  } catch (error) {
    console.error(error.code, error.message);
    return UNAVAILABLE;
  }
}

export function deny(reply, answer) {
  return reply.code(answer.http_status).headers(answer.headers).send(answer.error);
}

// Lets nobody without a key reach the routes of app, nor without the scope in a route's config.
export function requireKey(app, pool) {
  app.addHook('onRequest', async (request, reply) => {
    const answer = await authenticate(pool, request.headers, request.routeOptions.config.scope);
    if (answer.status !== 'VALID') return deny(reply, answer);
    request.caller = answer;
    reply.header('X-Request-Id', answer.request_id);
  });
}

// Does the work as one of the concurrent tasks that the account's plan allows. The start is asked
// once: if its answer is lost, the task may have started. Its lease ends after 15 minutes then.
export async function asTask(pool, request, reply, work) {
  const { authorization, 'x-forwarded-for': forwarded } = request.headers;
  const token = authorization.trim().split(' ').at(-1); // after "Bearer": requireKey has checked it
  let task = UNAVAILABLE;
  try {
    task = (await pool.query(START_TASK, [token, request.caller.request_id, forwarded])).rows[0];
  } catch (error) {
    console.error(error.code, error.message);
  }
  if (task.status !== 'VALID') return deny(reply, task);
  try {
    return await work(task);
  } finally {
    await ask(pool, FINISH_TASK, [task.lease]).catch((error) => console.error(error.code, error.message));
  }
}
