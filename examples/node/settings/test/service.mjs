// The service with its database, and a browser, for the tests of the page. The variables PGHOST,
// PGPORT and PGUSER lead to a server and its superuser: see tools/test/with-cluster.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { chromium } from 'playwright-core';

const database = 'settings_page';
const server = fileURLToPath(new URL('../../server.mjs', import.meta.url));

const DATABASE = `
  CREATE SCHEMA keys;
  CREATE EXTENSION vibepeak_keys SCHEMA keys;
  SELECT keys.vpk_grant_verifier('settings_page_service'), keys.vpk_grant_admin('settings_page_admin');
  SELECT keys.vpk_set_plan('acme', 'Pro'), keys.vpk_set_plan('other', 'Pro')`;

async function makeDatabase() {
  const maintenance = new pg.Client({ database: 'postgres' });
  await maintenance.connect();
  for (const statement of [
    `DROP DATABASE IF EXISTS ${database} WITH (FORCE)`,
    'DROP ROLE IF EXISTS settings_page_service, settings_page_admin',
    `CREATE DATABASE ${database} TEMPLATE template0`,
    'CREATE ROLE settings_page_service LOGIN',
    'CREATE ROLE settings_page_admin LOGIN',
  ]) await maintenance.query(statement);
  await maintenance.end();
  const superuser = new pg.Pool({ database, max: 2 });
  await superuser.query(DATABASE);
  return superuser;
}

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}

// The service with the page. `log` is what it has said.
async function startService() {
  const port = await freePort();
  const child = spawn(process.execPath, [server], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PGDATABASE: database,
      PGUSER: 'settings_page_service',
      SETTINGS_PGUSER: 'settings_page_admin',
      PORT: port,
    },
  });
  const service = { origin: `http://127.0.0.1:${port}`, log: '', stop };
  child.stdout.on('data', (text) => { service.log += text; });
  child.stderr.on('data', (text) => { service.log += text; });
  async function stop() {
    child.kill();
    if (child.exitCode === null) await once(child, 'exit');
  }
  while (!(await fetch(`${service.origin}/health`).then(({ ok }) => ok, () => false))) {
    if (child.exitCode !== null) throw new Error(`the service has ended: ${service.log}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return service;
}

// The profile is a folder of its own, in which the tests look for what the browser has kept.
export async function start() {
  const superuser = await makeDatabase();
  const service = await startService();
  const profile = await mkdtemp(join(tmpdir(), 'settings-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    viewport: { width: 1200, height: 700 },
    permissions: ['clipboard-read', 'clipboard-write'],
  });
  async function stop() {
    await context.close();
    await service.stop();
    await superuser.end();
    await rm(profile, { recursive: true });
  }
  return { superuser, service, context, profile, stop };
}
