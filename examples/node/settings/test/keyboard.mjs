// The page without a mouse.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, keyNamed, open, shownToken, superuser } from './steps.mjs';

export const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  return element.ariaLabel ?? (element.labels?.[0] ?? element).innerText.split('\n')[0].trim();
});

// Presses Tab until the focus is on the control whose name begins so.
export async function tabTo(page, name) {
  for (let presses = 0; presses < 60; presses++) {
    if ((await focused(page)).startsWith(name)) return;
    await page.keyboard.press('Tab');
  }
  assert.fail(`Tab does not reach "${name}"`);
}

async function focusComesTo(page, name) {
  await page.waitForFunction((name) => {
    const element = document.activeElement;
    return (element.ariaLabel ?? element.innerText).startsWith(name);
  }, name);
}

test('the keyboard suffices, and the focus returns to where it was', async () => {
  const page = await open();
  const { keyboard } = page;

  await tabTo(page, 'Create key');
  await keyboard.press('Enter');
  assert.equal(await focused(page), 'Name');
  await keyboard.press('Escape');
  await focusComesTo(page, 'Create key');

  await keyboard.press('Enter');
  await keyboard.type('By keyboard');
  await tabTo(page, 'Expires');
  await keyboard.type('Never');
  await tabTo(page, 'tasks:write');
  await keyboard.press('Space');
  for (let presses = 0; presses < 12; presses++) {
    await keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement.closest('dialog, body') !== document.body
      || document.activeElement === document.body), 'the focus stays in the dialog');
  }
  await tabTo(page, 'Create key');
  await keyboard.press('Enter');
  const first = await shownToken(page);
  assert.equal(await focused(page), 'Copy key');
  await keyboard.press('Enter');
  await page.getByText('Copied').waitFor();
  await keyboard.press('Escape');
  await focusComesTo(page, 'Create key');
  const { scopes, expires_at } = await keyNamed('By keyboard');
  assert.deepEqual([scopes, expires_at], [['tasks:write'], null]);

  await tabTo(page, 'Disable By keyboard');
  await keyboard.press('Enter');
  await focusComesTo(page, 'Enable By keyboard');
  assert.equal(await ask(first), '401 API_KEY_DISABLED');
  await keyboard.press('Enter');
  await focusComesTo(page, 'Disable By keyboard');
  assert.equal(await ask(first), 200);

  await tabTo(page, 'Revoke By keyboard');
  await keyboard.press('Enter');
  assert.equal(await focused(page), 'Cancel');
  await keyboard.press('Enter');
  await focusComesTo(page, 'Revoke By keyboard');
  await keyboard.press('Enter');
  await keyboard.press('Escape');
  await focusComesTo(page, 'Revoke By keyboard');
  assert.equal(await ask(first), 200);

  await keyboard.press('Shift+Tab');
  await keyboard.press('Shift+Tab');
  assert.match(await focused(page), /^Rotate By keyboard/);
  await keyboard.press('Enter');
  await tabTo(page, 'The old key ends');
  await keyboard.type('In 15');
  await tabTo(page, 'Rotate key');
  await keyboard.press('Enter');
  const second = await shownToken(page);
  await keyboard.press('Escape');
  await focusComesTo(page, 'Rotate By keyboard');
  assert.deepEqual([await ask(first), await ask(second)], [200, 200]);
  const { rows: [{ left }] } = await superuser.query(
    "SELECT expires_at - now() <= '15 minutes' AS left FROM vpk.keys WHERE name = 'By keyboard' ORDER BY id LIMIT 1");
  assert.equal(left, true);

  await tabTo(page, 'Revoke By keyboard');
  await keyboard.press('Enter');
  await keyboard.press('Tab');
  assert.equal(await focused(page), 'Revoke key');
  await keyboard.press('Enter');
  await focusComesTo(page, 'By keyboard');
  assert.deepEqual((await Promise.all([first, second].map(ask))).sort(), [200, '401 API_KEY_REVOKED']);
  await page.close();
});
