// The page "Settings, API" as a Fastify plugin: the people of an account create, rotate, disable
// and revoke its keys. It needs @fastify/cookie, registered before it.
//
// Options:
//   pool     node-postgres, with a role that vpk_grant_admin has been given
//   userOf   (request) => { name, account }, or null if nobody has signed in: the application's
//            own sign-in knows
//   signIn   the path of that sign-in
//   secret   random text, at least 32 bytes, the same in every process of the application
//   scopes   the scopes that the application's keys may have
import { readFile } from 'node:fs/promises';
import csrf from '@fastify/csrf-protection';
import * as keys from './keys.mjs';
import * as limits from './limits.mjs';

const files = {
  '/': ['index.html', 'text/html; charset=utf-8'],
  '/settings.css': ['settings.css', 'text/css; charset=utf-8'],
  '/settings.js': ['settings.js', 'text/javascript; charset=utf-8'],
};

// No cache keeps an answer, no other site frames the page, and it loads nothing from elsewhere.
const headers = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
  'X-Content-Type-Options': 'nosniff',
};

export default async function settings(app, { pool, userOf, signIn, secret, scopes }) {
  app.decorateRequest('settingsUser', null);
  app.addHook('onRequest', async (request, reply) => {
    reply.headers(headers);
    request.settingsUser = await userOf(request);
    if (request.settingsUser) return;
    if ([app.prefix, `${app.prefix}/`].includes(request.url)) return reply.redirect(signIn);
    return reply.code(401).send({ message: 'You are not signed in.' });
  });

  // Every change needs a CSRF token in a header field. It is valid for one user in one browser, and
  // no other site can read it.
  const identity = ({ name, account }) => JSON.stringify([name, account]);
  await app.register(csrf, {
    csrfOpts: { hmacKey: secret },
    cookieKey: 'settings_csrf',
    cookieOpts: { path: app.prefix, httpOnly: true, sameSite: 'strict', secure: 'auto' },
    getToken: (request) => request.headers['csrf-token'],
    getUserInfo: (request) => identity(request.settingsUser),
  });
  app.addHook('onRequest', (request, reply, done) =>
    request.method === 'GET' ? done() : app.csrfProtection(request, reply, done));

  // Class 22 says which value is wrong, and never contains a token.
  app.setErrorHandler((error, request, reply) => {
    const status = /^22...$/.test(error.code) ? 400 : error.statusCode ?? 503;
    if (status < 500) return reply.code(status).send({ message: error.message });
    console.error(error.code, error.message);
    return reply.code(503).send({ message: 'The service is not available. Try again later.' });
  });

  for (const [path, [name, type]] of Object.entries(files)) {
    const content = await readFile(new URL(`page/${name}`, import.meta.url));
    app.get(path, { prefixTrailingSlash: 'slash' }, (_, reply) => reply.type(type).send(content));
  }
  app.get('', (_, reply) => reply.redirect(`${app.prefix}/`));

  app.get('/session', ({ settingsUser: user }, reply) => reply.send({
    ...user,
    scopes,
    csrf_token: reply.generateCsrf({ userInfo: identity(user) }),
  }));

  const id = { type: 'string', format: 'uuid' };
  const querystring = object({
    after: id,
    state: { enum: ['active', 'disabled', 'expired', 'revoked'] },
    text: { type: 'string', maxLength: 100 },
  });
  app.get('/keys', { schema: { querystring } }, ({ settingsUser, query }) =>
    keys.list(pool, settingsUser, query));

  app.get('/limits', ({ settingsUser }) => limits.left(pool, settingsUser));

  const key = object({
    name: { type: 'string' },
    environment: { enum: ['live', 'test'] },
    expires_at: { type: ['string', 'null'], format: 'date-time' },
    scopes: { type: 'array', items: scopes.length > 0 && { enum: scopes } }, // false allows none
  }, 'all');
  app.post('/keys', { schema: { body: key } }, async ({ settingsUser, body }, reply) =>
    reply.code(201).send(await keys.create(pool, settingsUser, body)));

  const grace = { enum: ['0', '15 minutes', '1 hour', '6 hours', '24 hours'] };
  const actions = { rotate: object({ grace }, 'all'), disable: {}, enable: {}, revoke: {} };
  for (const [name, body] of Object.entries(actions)) {
    const schema = { params: object({ id }, 'all'), body };
    app.post(`/keys/:id/${name}`, { schema }, async ({ settingsUser, params, body }, reply) =>
      await keys[name](pool, settingsUser, { ...body, ...params })
        ?? reply.code(404).send({ message: 'There is no such key.' }));
  }
}

// The JSON schema of an object whose properties are optional, or all required.
function object(properties, required) {
  return { type: 'object', properties, required: required ? Object.keys(properties) : [] };
}
