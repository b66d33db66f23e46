// The page with a sign-in for development, so that it can be tried: the sign-in believes every name.
// Your application registers plugin.mjs alone, with its own sign-in.
import { randomBytes } from 'node:crypto';
import cookie from '@fastify/cookie';
import pg from 'pg';
import settings from './plugin.mjs';

const path = '/settings/api';
const cookieName = 'development_user';
const cookieOptions = { path: '/', httpOnly: true, sameSite: 'strict', secure: 'auto', signed: true };

const form = `<!doctype html>
<html lang="en">
<meta name="viewport" content="width=device-width">
<title>Development sign-in</title>
<style>:root { color-scheme: light dark; font: 1rem/1.6 system-ui } body { margin: 3rem auto; width: 20rem }</style>
<h1>Development sign-in</h1>
<p>There is no password: do not let others reach this.</p>
<form method="post">
<p><label>Your name<br><input name="name" required value="developer"></label>
<p><label>Account<br><input name="account" required value="default"></label>
<p><button>Sign in</button>
</form>`;

async function userOf(request) {
  const { valid, value } = request.unsignCookie(request.cookies[cookieName] ?? '');
  return valid ? JSON.parse(value) : null;
}

async function signIn(app) {
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' },
    async (_, body) => Object.fromEntries(new URLSearchParams(body)));
  app.get('/sign-in', (_, reply) => reply.type('text/html; charset=utf-8').send(form));
  app.post('/sign-in', async ({ body: { name, account } }, reply) => reply
    .setCookie(cookieName, JSON.stringify({ name, account }), cookieOptions)
    .redirect(`${path}/`, 303));
}

export default async function settingsForDevelopment(app) {
  if (process.env.NODE_ENV === 'production') throw new Error('the sign-in is for development only');
  const pool = new pg.Pool({
    user: process.env.SETTINGS_PGUSER,
    password: process.env.SETTINGS_PGPASSWORD,
    connectionTimeoutMillis: 5000,
    query_timeout: 5000,
  });
  pool.on('error', (error) => console.error('idle connection lost:', error.message));
  app.addHook('onClose', () => pool.end());

  const secret = randomBytes(32).toString('hex'); // sign-ins end when the service ends
  await app.register(cookie, { secret });
  app.register(signIn);
  app.register(settings, { prefix: path, pool, userOf, signIn: '/sign-in', secret, scopes: ['tasks:write'] });
}
