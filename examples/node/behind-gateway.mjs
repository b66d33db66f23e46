// A service behind a gateway. It knows nothing of keys: the gateway hands it the account that calls,
// and for a task its lease. See ../gateway/README.md.
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import pg from 'pg';
import { UNAVAILABLE, ask, deny } from './api-keys.mjs';

const pool = new pg.Pool({ connectionTimeoutMillis: 5000, query_timeout: 5000 });
pool.on('error', (error) => console.error('idle connection lost:', error.message));

const EXTEND_TASK = { text: "SELECT keys.vpk_task_extend($1::uuid, '15 minutes') AS until" };
const FINISH_TASK = { text: 'SELECT keys.vpk_task_finish($1::uuid)' };

// What the gateway hands over. It lets no field of another such name through: many services do not
// tell X_Vpk_Account from X-Vpk-Account.
const uuid = '[0-9a-f-]{36}';
const handedOver = {
  'x-vpk-key-id': new RegExp(`^${uuid}$`),
  'x-vpk-account': /^[\w.!~*'()%-]+$/,
  'x-vpk-lease': new RegExp(`^(${uuid})?$`),
  'x-vpk-running': /^\d*$/,
  'x-vpk-allowed': /^\d*$/,
};
const isHandedOver = ([name, value]) => !name.includes('vpk') || handedOver[name]?.test(value);

const app = Fastify();

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
  // Only the gateway may reach this service. It always hands over these fields.
  v1.decorateRequest('account', null);
  v1.addHook('onRequest', async (request, reply) => {
    const { 'x-vpk-key-id': keyId, 'x-vpk-account': account, 'x-request-id': requestId } = request.headers;
    if (!keyId || !account || !Object.entries(request.headers).every(isHandedOver)) {
      return reply.code(403).send();
    }
    console.log(keyId, account, requestId);
    request.account = decodeURIComponent(account);
    reply.header('X-Request-Id', requestId);
  });

  v1.get('/tasks/:id', async ({ params, account }) => ({ id: params.id, account, status: 'done' }));

  v1.post('/tasks', async (request, reply) => {
    const { 'x-vpk-lease': lease, 'x-vpk-running': running, 'x-vpk-allowed': allowed } = request.headers;
    if (!lease) return reply.code(403).send(); // the gateway has not asked for a task
    try {
      const { until } = await ask(pool, EXTEND_TASK, [lease]);
      if (!until) return deny(reply, UNAVAILABLE); // the request came when the lease had ended
      // Here the task does its work.
      reply.code(201);
      return {
        id: randomUUID(),
        account: request.account,
        status: 'done',
        running: Number(running),
        allowed: allowed ? Number(allowed) : null,
      };
    } catch (error) {
      console.error(error.code, error.message);
      return deny(reply, UNAVAILABLE);
    } finally {
      await ask(pool, FINISH_TASK, [lease]).catch((error) => console.error(error.code, error.message));
    }
  });
}, { prefix: '/v1' });

process.on('SIGTERM', () => app.close().then(() => pool.end()));
await app.listen({ port: Number(process.env.PORT ?? 8081), host: '127.0.0.1' });
