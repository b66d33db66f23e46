// What the page says of the limits of the account.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { focused, tabTo } from './keyboard.mjs';
import { accessible, announced, listen } from './screen_reader.mjs';
import { ask, button, context, open, service, superuser } from './steps.mjs';

const lines = (page) => page.getByRole('region', { name: 'What is left', exact: true }).getByRole('listitem');

const says = (page, text) => lines(page).getByText(text).waitFor();

// A key of an account of its own, so that no other test takes anything of its limits. None of them
// is filled up again while the tests run.
async function keyOf(account, ...limits) {
  await superuser.query("SELECT keys.vpk_set_plan($1, 'Pro')", [account]);
  for (const limit of limits) {
    await superuser.query('SELECT keys.vpk_set_rate_limit($2, $3, $4, $5, account => $1)', [account, ...limit]);
  }
  return (await superuser.query("SELECT token FROM keys.vpk_create('Limited', $1)", [account])).rows[0].token;
}

test('the page says what is left of rate limits, and takes nothing of them', async () => {
  const token = await keyOf('limited',
    ['rare', 1000, '30 days', null], ['hour', 5, '1 hour', null], ['day', 50, '1 day', 20]);
  const page = await open('limited');
  await says(page, 'Requests: 1,000 of 1,000 in 30 days');
  assert.deepEqual(await lines(page).allTextContents(), ['Requests: 5 of 5 this hour',
    'Requests: 20 of 20 at once, 50 per 24 hours', 'Requests: 1,000 of 1,000 in 30 days']);

  for (let request = 0; request < 3; request++) assert.equal(await ask(token), 200);
  await button(page, 'Look again').click();
  for (const text of ['2 of 5 this hour', '17 of 20 at once, 50 per 24 hours', '997 of 1,000 in 30 days']) {
    await says(page, `Requests: ${text}, all again `);
  }
  await page.reload();
  await says(page, 'Requests: 2 of 5 this hour, all again ');

  for (let request = 0; request < 2; request++) assert.equal(await ask(token), 200);
  assert.equal(await ask(token), '429 RATE_LIMITED');
  await button(page, 'Look again').click();
  await says(page, 'Requests: 0 of 5 this hour, all again ');
  await page.close();
});

test('the page says what is left of quotas', async () => {
  const token = await keyOf('quoted');
  for (const quota of [[10, 'total', 'calls'], [4, 'year', 'calls'], [5_000_000, 'year', 'tokens']]) {
    await superuser.query("SELECT keys.vpk_set_quota($1, $2, $3, account => 'quoted')", quota);
  }
  assert.equal(await ask(token), 200);
  const page = await open('quoted');
  await says(page, 'Requests: 3 of 4 this year, all again ');
  await says(page, 'Requests: 9 of 10 in all');
  await says(page, 'Tokens: 5,000,000 of 5,000,000 this year, all again ');

  for (let request = 0; request < 3; request++) assert.equal(await ask(token), 200);
  assert.equal(await ask(token), '429 QUOTA_EXCEEDED');
  await superuser.query("SELECT keys.vpk_charge(id, 2) FROM vpk.keys WHERE account = 'quoted'");
  await button(page, 'Look again').click();
  await says(page, 'Requests: 0 of 4 this year, all again ');
  await superuser.query("SELECT keys.vpk_grant_quota('quoted', 5, period => 'year')");
  await button(page, 'Look again').click();
  await says(page, 'Requests: 3 of 9 this year, all again ');
  await page.close();
});

test('nobody sees what is left of the limits of another account', async () => {
  await keyOf('another', ['hour', 12345, '1 hour', null]);
  for (const account of ['acme', 'without a key yet']) {
    await context.request.post(`${service.origin}/sign-in`, { form: { name: 'Ada', account } });
    const answer = await context.request.get(`${service.origin}/settings/api/limits?account=another`);
    assert.deepEqual(await answer.json(), { rates: [], quotas: [] }, account);
  }
});

test('to look again, a key suffices, and it is announced once', async () => {
  await keyOf('looking', ['hour', 5, '1 hour', null]);
  const page = await open('looking');
  await says(page, 'Requests: 5 of 5 this hour');
  const seen = await accessible(page);
  for (const part of ['region: What is left', 'button: Look again']) assert.ok(seen.includes(part), part);
  await listen(page);
  await tabTo(page, 'Look again');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('What is left is up to date.').waitFor();
  assert.deepEqual(await announced(page), ['What is left is up to date.']);
  assert.equal(await focused(page), 'Look again');
  await page.close();
});

test('without limits, the page says nothing of them', async () => {
  await keyOf('unlimited', ['hour', 5, '1 hour', null]);
  const page = await open('unlimited');
  await says(page, 'Requests: 5 of 5 this hour');
  await keyOf('unlimited', ['hour', null, null, null]);
  await button(page, 'Look again').click();
  await page.getByRole('status').getByText('What is left is up to date.').waitFor();
  assert.equal(await page.getByText('What is left', { exact: true }).isVisible(), false);
  assert.equal(await focused(page), 'API keys');
  await page.close();
});
