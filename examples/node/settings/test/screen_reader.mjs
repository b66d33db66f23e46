// What a screen reader is told.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, button, choice, context, create, field, open } from './steps.mjs';

const named = new Set(['alertdialog', 'button', 'checkbox', 'columnheader', 'combobox', 'DateTime',
  'dialog', 'group', 'link', 'navigation', 'region', 'rowheader', 'search', 'searchbox', 'spinbutton',
  'table', 'textbox']);

// The controls and regions in the accessibility tree: "role: name".
export async function accessible(page) {
  const devtools = await context.newCDPSession(page);
  const { nodes } = await devtools.send('Accessibility.getFullAXTree');
  await devtools.detach();
  const found = nodes.filter(({ ignored, role }) => !ignored && named.has(role?.value))
    .map(({ role, name }) => [role.value, name?.value.trim()]);
  assert.deepEqual(found.filter(([, name]) => !name), [], 'without a name');
  return found.map(([role, name]) => `${role}: ${name}`);
}

// Keeps from now on what is announced.
export const listen = (page) => page.evaluate(() => {
  window.announced = [];
  for (const region of document.querySelectorAll('[role=status], [role=alert]')) {
    new MutationObserver(() => region.textContent && window.announced.push(region.textContent))
      .observe(region, { childList: true, characterData: true, subtree: true });
  }
});
export const announced = (page) => page.evaluate(() => window.announced);

test('every control has a name, and a copy is announced once', async () => {
  const page = await open();
  const token = await create(page, 'Named');
  const seen = await accessible(page);
  for (const control of ['dialog: Key of Named', 'textbox: Key', 'region: Example with curl',
    'button: Done', 'button: Copy key']) assert.ok(seen.includes(control), control);
  assert.ok(!seen.includes('table: Keys, newest first'), 'what is behind the dialog is inert');

  await listen(page);
  await button(page, 'Copy key').click();
  await page.getByText('Copied').waitFor();
  assert.deepEqual(await announced(page), ['Copied']);
  await button(page, 'Done').click();
  await page.getByRole('status').getByText('Named was created.').waitFor();

  const list = await accessible(page);
  const name = `Named, ${token.slice(0, 13)}`;
  for (const control of ['button: Create key', 'search: Keys', 'combobox: State', 'table: Keys, newest first',
    'searchbox: Name or beginning of the key', 'rowheader: Named', `button: Rotate ${name}`,
    `button: Disable ${name}`, `button: Revoke ${name}`, 'navigation: Pages of keys',
    'button: Newer', 'button: Older']) assert.ok(list.includes(control), control);

  await button(page, 'Create key').click();
  await choice(page, 'Expires').selectOption('At another time');
  const form = await accessible(page);
  for (const control of ['dialog: Create key', 'textbox: Name', 'combobox: Environment', 'combobox: Expires',
    'group: Scopes', 'checkbox: tasks:write', 'DateTime: Time of expiry']) assert.ok(form.includes(control), control);
  await page.keyboard.press('Escape');
  await act(page, 'Rotate', 'Named');
  assert.ok((await accessible(page)).includes('dialog: Rotate Named'));
  await page.keyboard.press('Escape');
  await act(page, 'Revoke', 'Named');
  assert.ok((await accessible(page)).includes('alertdialog: Revoke Named?'));
  await page.close();
});
