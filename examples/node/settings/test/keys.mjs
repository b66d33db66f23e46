// What the page does with keys, and how it lists them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  act, ask, button, choice, context, create, field, keyNamed, open, row, service, shownToken, state, superuser,
} from './steps.mjs';

const done = (page) => button(page, 'Done').click();

test('a key is created with environment, expiry and scopes as chosen', async () => {
  const page = await open();
  await button(page, 'Create key').click();
  await field(page, 'Name').fill('Chosen');
  await choice(page, 'Environment').selectOption('Test');
  await choice(page, 'Expires').selectOption('At another time');
  await field(page, 'Time of expiry').fill('2099-12-31T12:00');
  await field(page, 'tasks:write').check();
  await field(page, 'Name').press('Enter');
  assert.match(await shownToken(page), /^vpk_test_/);
  await done(page);
  const { environment, scopes, expires_at } = await keyNamed('Chosen');
  const expected = await page.evaluate(() => new Date('2099-12-31T12:00').toISOString());
  assert.deepEqual([environment, scopes, expires_at.toISOString()], ['test', ['tasks:write'], expected]);
  await row(page, 'Chosen tasks:write').waitFor();

  await create(page, 'Preset');
  await done(page);
  const { rows: [{ days }] } = await superuser.query(
    "SELECT round(extract(epoch FROM expires_at - created_at) / 86400) AS days FROM vpk.keys WHERE name = 'Preset'");
  assert.equal(days, '90');
  await page.close();
});

test('what the database refuses is said in the dialog', async () => {
  const page = await open();
  await button(page, 'Create key').click();
  await field(page, 'Name').fill('Past');
  await choice(page, 'Expires').selectOption('At another time');
  await field(page, 'Time of expiry').fill('2001-01-01T12:00');
  await field(page, 'Name').press('Enter');
  await page.getByRole('dialog').getByText('expires_at must be in the future').waitFor();
  assert.equal(await keyNamed('Past'), undefined);
  await page.close();
});

test('a revoked key is shown so, and refused at once', async () => {
  const page = await open();
  const token = await create(page, 'To revoke');
  await done(page);
  assert.equal(await ask(token), 200);
  await act(page, 'Revoke', 'To revoke');
  await button(page, 'Revoke key').click();
  await state(page, 'To revoke', 'Revoked');
  assert.equal(await ask(token), '401 API_KEY_REVOKED');
  assert.deepEqual(await row(page, 'To revoke').getByRole('button').count(), 0);
  const { rows } = await superuser.query(
    "SELECT actor, role FROM vpk.events WHERE event = 'key_revoked' AND key_id = $1", [(await keyNamed('To revoke')).id]);
  assert.deepEqual(rows, [{ actor: 'Ada', role: 'settings_page_admin' }]);
  await page.close();
});

test('a disabled key is shown so, and works again once enabled', async () => {
  const page = await open();
  const token = await create(page, 'To disable');
  await done(page);
  await act(page, 'Disable', 'To disable');
  await state(page, 'To disable', 'Disabled');
  assert.equal(await ask(token), '401 API_KEY_DISABLED');
  await act(page, 'Enable', 'To disable');
  await state(page, 'To disable', 'Active');
  assert.equal(await ask(token), 200);
  await page.close();
});

test('a rotation without grace ends the old key at once', async () => {
  const page = await open();
  const old = await create(page, 'To rotate');
  await done(page);
  await act(page, 'Rotate', 'To rotate');
  await choice(page, 'The old key ends').selectOption('Now');
  await button(page, 'Rotate key').click();
  const successor = await shownToken(page);
  await done(page);
  assert.deepEqual([await ask(old), await ask(successor)], ['401 API_KEY_REVOKED', 200]);
  await page.close();
});

test('a name is text, whatever it looks like', async () => {
  const page = await open();
  const name = '<script>document.title = "run"</script><img src=x onerror="document.title = \'run\'">';
  await create(page, name);
  assert.equal(await page.getByRole('heading', { name: `Key of ${name}` }).count(), 1);
  await done(page);
  await act(page, 'Revoke', name);
  await button(page, 'Cancel').click();
  await row(page, name).waitFor();
  assert.equal(await page.locator('main img, main script, dialog img, dialog script').count(), 0);
  assert.equal(await page.title(), 'API keys - Settings');
  await page.close();
});

test('a thousand keys come in pages of less than 100 kB', async () => {
  await superuser.query("SELECT keys.vpk_set_plan('large', 'Pro')");
  await superuser.query(
    "SELECT count(*) FROM generate_series(1, 1000) AS n, keys.vpk_create('Key number ' || n, 'large')");
  await superuser.query("SELECT keys.vpk_disable(id) FROM vpk.keys WHERE name = 'Key number 77'");
  const sizes = [];
  context.on('response', async (response) => sizes.push((await response.body().catch(() => '')).length));
  const page = await open('large');
  const names = new Set();
  const older = button(page, 'Older');
  for (let turns = 0; ; turns++) {
    const first = row(page, `Key number ${1000 - 50 * turns}`);
    await first.waitFor();
    for (const name of await page.getByRole('rowheader').allTextContents()) names.add(name.trim());
    assert.ok((await page.content()).length < 100_000);
    if (await older.isDisabled()) break;
    await older.click();
  }
  assert.equal(names.size, 1000);
  await button(page, 'Newer').click();
  await row(page, 'Key number 100').waitFor();
  assert.ok(sizes.length > 20 && Math.max(...sizes) < 100_000, `${sizes}`);

  await page.getByRole('searchbox').fill('NUMBER 77');
  await row(page, 'Key number 770').waitFor();
  await page.getByRole('status').getByText('11 keys', { exact: true }).waitFor();
  await choice(page, 'State').selectOption('Disabled');
  await page.getByRole('status').getByText('1 key', { exact: true }).waitFor();
  await state(page, 'Key number 77', 'Disabled');
  assert.equal(await page.getByRole('rowheader').count(), 1);
  await page.getByRole('searchbox').fill('nothing');
  await page.getByText('No keys.').waitFor();
  await page.close();
});

test('without clipboard, the key is selected for the reader to copy', async () => {
  const page = await open();
  await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  const token = await create(page, 'By hand');
  await button(page, 'Copy key').click();
  await page.getByText('The key is selected.').waitFor();
  const selected = () => {
    const { value, selectionStart, selectionEnd } = document.activeElement;
    return value.slice(selectionStart, selectionEnd);
  };
  assert.equal(await page.evaluate(selected), token);
  await page.close();
});

test('every text can be read, in light and dark', async () => {
  const page = await open();
  await superuser.query("SELECT keys.vpk_create(s, 'acme', expires_at => now() + interval '1 hour') FROM unnest('{a,b,c}'::text[]) AS s");
  await superuser.query("SELECT keys.vpk_set_rate_limit('hour', 1000, '1 hour', account => 'acme')");
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.reload();
    await row(page, 'a').waitFor();
    await page.getByText('of 1,000 this hour').waitFor();
    await button(page, 'Create key').click();
    const faint = await page.evaluate(contrasts);
    assert.ok(faint.length > 40);
    assert.deepEqual(faint.filter(({ contrast }) => contrast < 4.5), [], colorScheme);
  }
  await superuser.query("SELECT keys.vpk_set_rate_limit('hour', NULL, NULL, account => 'acme')");
  await page.close();
});

// The contrast of each element that has text, by the formula of WCAG 2.
function contrasts() {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [red, green, blue] = channels(color).map((value) =>
      value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return channels(color)[3] === 0 ? background(element.parentElement) : color;
  };
  const texts = [...document.body.querySelectorAll('*')].filter((element) => element.checkVisibility()
    && !element.disabled && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return texts.map((element) => {
    const [low, high] = [getComputedStyle(element).color, background(element)].map(luminance).sort((a, b) => a - b);
    return { text: element.textContent.trim(), contrast: (high + 0.05) / (low + 0.05) };
  });
}

test('without a database the page says so, and goes on when it is back', async () => {
  const page = await open();
  await superuser.query('ALTER ROLE settings_page_admin NOLOGIN');
  await superuser.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'settings_page_admin'");
  await choice(page, 'State').selectOption('Active');
  await page.getByRole('alert').getByText('The service is not available. Try again later.').waitFor();
  await superuser.query('ALTER ROLE settings_page_admin LOGIN');
  await choice(page, 'State').selectOption('All');
  await row(page, 'To disable').waitFor();
  await page.waitForFunction(() => document.querySelector('#problem').textContent === '');
  await page.close();
});
