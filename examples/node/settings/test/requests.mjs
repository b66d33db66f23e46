// Requests that the page would not send: of strangers, of other accounts and of other sites.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import cookie from '@fastify/cookie';
import Fastify from 'fastify';
import plugin from '../plugin.mjs';
import { ask, button, context, create, keyNamed, open, service } from './steps.mjs';

const settings = (path) => `${service.origin}/settings/api${path}`;

// A key of the account acme that works.
async function victim(name) {
  const page = await open();
  const token = await create(page, name);
  await button(page, 'Done').click();
  await page.close();
  return { token, id: (await keyNamed(name)).id };
}

async function signIn(name, account) {
  await context.request.post(`${service.origin}/sign-in`, { form: { name, account } });
  return (await (await context.request.get(settings('/session'))).json()).csrf_token;
}

const post = (path, csrfToken, data = {}) => context.request.post(settings(path), {
  data, headers: csrfToken ? { 'CSRF-Token': csrfToken } : {},
});

test('nobody reaches the page or its data without having signed in', async () => {
  const get = (path) => fetch(settings(path), { redirect: 'manual' });
  for (const path of ['', '/']) {
    const page = await get(path);
    assert.deepEqual([page.status, page.headers.get('location')], [302, '/sign-in'], path);
  }
  for (const path of ['/keys', '/limits', '/session', '/settings.js']) assert.equal((await get(path)).status, 401, path);
  const change = await fetch(settings('/keys'), { method: 'POST' });
  assert.equal(change.status, 401);
});

test('nobody keeps or frames an answer', async () => {
  await signIn('Ada', 'acme');
  for (const path of ['/', '/settings.css', '/settings.js', '/keys', '/limits', '/session']) {
    const headers = (await context.request.get(settings(path))).headers();
    assert.equal(headers['cache-control'], 'no-store', path);
    assert.equal(headers['referrer-policy'], 'no-referrer', path);
    assert.match(headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/, path);
  }
});

test('a change needs the CSRF token of this user in this browser', async () => {
  const { id, token } = await victim('Protected');
  const others = await signIn('Mallory', 'other');
  const colleagues = await signIn('Grace', 'acme');
  const mine = await signIn('Ada', 'acme');
  for (const csrfToken of [undefined, 'x', others, colleagues]) {
    for (const path of ['/keys', `/keys/${id}/rotate`, `/keys/${id}/disable`, `/keys/${id}/enable`, `/keys/${id}/revoke`]) {
      assert.equal((await post(path, csrfToken)).status(), 403, path);
    }
  }
  assert.equal(await ask(token), 200);
  assert.equal((await post(`/keys/${id}/revoke`, mine)).status(), 200);
  assert.equal(await ask(token), '401 API_KEY_REVOKED');
});

test('another site cannot change anything through the browser of a user', async () => {
  const { id, token } = await victim('Attacked');
  const target = settings(`/keys/${id}/revoke`);
  const site = createServer((_, response) => response.setHeader('Content-Type', 'text/html').end(
    `<form method="post" action="${target}" enctype="text/plain"><button>Win</button></form>
     <script>
       const options = { method: 'POST', mode: 'no-cors', credentials: 'include', body: '{}' };
       fetch('${target}', options).finally(() => { document.title = 'sent'; });
     </script>`)).listen(0, '127.0.0.1');
  await once(site, 'listening');
  // From 127.0.0.1 the browser sends the cookies: only the CSRF token is missing.
  for (const [host, statuses] of [['localhost', [401, 401]], ['127.0.0.1', [403, 403]]]) {
    const page = await context.newPage();
    const seen = [];
    page.on('response', (response) => response.url() === target && seen.push(response.status()));
    await page.goto(`http://${host}:${site.address().port}/`);
    await page.waitForFunction(() => document.title === 'sent');
    await Promise.all([page.waitForURL(target), page.getByRole('button', { name: 'Win' }).click()]);
    assert.deepEqual(seen, statuses, host);
    await page.close();
  }
  assert.equal(await ask(token), 200);
  site.close();
});

test('no user reaches a key of another account', async () => {
  const { id, token } = await victim('Of acme');
  const csrfToken = await signIn('Mallory', 'other');
  for (const action of ['rotate', 'disable', 'enable', 'revoke']) {
    const answer = await post(`/keys/${id}/${action}`, csrfToken, { grace: '0' });
    assert.equal(answer.status(), 404, action);
  }
  const listed = await (await context.request.get(settings('/keys'))).json();
  assert.deepEqual(listed, { keys: [], more: false });
  assert.equal(await ask(token), 200);
});

test('a request with other values than the page offers is refused', async () => {
  const csrfToken = await signIn('Ada', 'acme');
  const right = { name: 'x', environment: 'live', expires_at: null, scopes: [] };
  for (const wrong of [
    { scopes: ['admin'] }, { environment: 'other' }, { name: undefined }, { name: 'a\0b' },
    { expires_at: 'soon' }, { expires_at: '0000-01-01T00:00:00Z' },
  ]) {
    assert.equal((await post('/keys', csrfToken, { ...right, ...wrong })).status(), 400, JSON.stringify(wrong));
  }
  for (const query of ['state=other', 'after=x', 'text=%00']) {
    assert.equal((await context.request.get(settings(`/keys?${query}`))).status(), 400, query);
  }
});

test('an application without scopes issues keys without scopes', async () => {
  const app = Fastify();
  const user = { name: 'Ada', account: 'acme' };
  const options = { pool: {}, userOf: () => user, signIn: '/', secret: randomBytes(32).toString('hex'), scopes: [] };
  await app.register(cookie).register(plugin, { ...options, prefix: '/keys' });
  const { headers, body } = await app.inject('/keys/session');
  const key = { name: 'x', environment: 'live', expires_at: null };
  for (const [scopes, status] of [[['any'], 400], [[], 503]]) { // the pool is none
    const answer = await app.inject({
      method: 'POST', url: '/keys/keys', payload: { ...key, scopes },
      headers: { 'csrf-token': JSON.parse(body).csrf_token, cookie: headers['set-cookie'] },
    });
    assert.equal(answer.statusCode, status, scopes);
  }
});
