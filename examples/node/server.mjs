// An API whose callers have API keys. Run: npm ci && PGHOST=... PGUSER=... node server.mjs
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import pg from 'pg';
import { UNAVAILABLE, ask, asTask, deny, requireKey } from './api-keys.mjs';
import { authorize } from './authorize.mjs';
import settings from './settings/development.mjs';

// PGHOST, PGDATABASE, PGUSER, ... say where. A database that hangs must not hold requests for long.
const pool = new pg.Pool({ connectionTimeoutMillis: 5000, query_timeout: 5000 });
pool.on('error', (error) => console.error('idle connection lost:', error.message));

// Without Fastify's logger: it would log paths, in which a client may have put its key.
const app = Fastify();

// Open to everybody. Whether this service can answer depends on the database.
app.get('/health', async (request, reply) => {
  try {
    await ask(pool, { text: 'SELECT 1' });
    return { status: 'ok' };
  } catch (error) {
    console.error(error.code, error.message);
    return deny(reply, UNAVAILABLE);
  }
});

app.register(async (v1) => {
  requireKey(v1, pool);

  v1.get('/tasks/:id', async ({ params, caller }) => (
    { id: params.id, account: caller.account, status: 'done' }
  ));

  v1.post('/tasks', { config: { scope: 'tasks:write', cost: 0 } }, (request, reply) =>
    asTask(pool, request, reply, async ({ running, allowed }) => {
      // Here the task does its work.
      reply.code(201);
      return { id: randomUUID(), account: request.caller.account, status: 'done', running, allowed };
    }));
}, { prefix: '/v1' });

app.register(authorize, { pool });
if (process.env.SETTINGS_PGUSER) app.register(settings);

process.on('SIGTERM', () => app.close().then(() => pool.end())); // when all requests have answers
await app.listen({ port: Number(process.env.PORT ?? 8080), host: '127.0.0.1' });
