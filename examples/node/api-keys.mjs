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
                                      client_ip => keys.vpk_client_ip($4::text),
                                      cost => $5::integer)`,
};
const START_TASK = `SELECT status::text, http_status, lease, running, allowed, headers, error
                      FROM keys.vpk_task_start($1::text, request_id => $2::text,
                                               client_ip => keys.vpk_client_ip($3::text),
                                               ttl => $4::interval)`;
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
// that header too. The cost is what the request takes of rate limits and quotas, 1 if it is not
// given; 0 if the request starts a task, since startTask takes it then.
export async function authenticate(pool, headers, scope, cost) {
  const values = [
    headers.authorization, scope, headers['x-request-id'], headers['x-forwarded-for'], cost,
  ];
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

// Lets nobody without a key reach the routes of app, nor without the scope in a route's config. A
// route whose requests cost another number than 1 has it there too: 0 if it starts a task.
export function requireKey(app, pool) {
  app.addHook('onRequest', async (request, reply) => {
    const { scope, cost } = request.routeOptions.config;
    const answer = await authenticate(pool, request.headers, scope, cost);
    if (answer.status !== 'VALID') return deny(reply, answer);
    request.caller = answer;
    reply.header('X-Request-Id', answer.request_id);
  });
}

// Starts a task of the account, if its plan allows another one, or says why not. It costs 1 of rate
// limits and quotas. It is asked once: if the answer is lost, the task may have started, and ends by
// itself.
export async function startTask(pool, headers, requestId, ttl = '15 minutes') {
  const token = headers.authorization.trim().split(' ').at(-1); // after "Bearer": it has been checked
  const values = [token, requestId, headers['x-forwarded-for'], ttl];
  try {
    return (await pool.query(START_TASK, values)).rows[0];
  } catch (error) {
    console.error(error.code, error.message);
    return UNAVAILABLE;
  }
}

// Does the work as one of the concurrent tasks that the account's plan allows.
export async function asTask(pool, request, reply, work) {
  const task = await startTask(pool, request.headers, request.caller.request_id);
  if (task.status !== 'VALID') return deny(reply, task);
  try {
    return await work(task);
  } finally {
    await ask(pool, FINISH_TASK, [task.lease]).catch((error) => console.error(error.code, error.message));
  }
}
