// What a person does on the page, and what the tests look at.
import assert from 'node:assert/strict';
import { start } from './service.mjs';

export const { service, superuser, context, profile, stop } = await start();
const address = `${service.origin}/settings/api/`;

// Every token that the page has shown.
export const tokens = [];

// A page with the keys of an account.
export async function open(account = 'acme', name = 'Ada') {
  await context.request.post(`${service.origin}/sign-in`, { form: { name, account } });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000); // on a busy machine
  await page.goto(address);
  await page.getByText(`${name}, account ${account}`).waitFor();
  return page;
}

export const button = (page, name) => page.getByRole('button', { name, exact: true });
export const row = (page, name) => page.getByRole('row').filter({ has: page.getByRole('rowheader', { name, exact: true }) });
export const field = (page, name) => page.getByLabel(name, { exact: true });
export const choice = (page, name) => page.getByRole('combobox', { name, exact: true });

// Creates a key and returns its token, with the dialog that shows it still open.
export async function create(page, name) {
  await button(page, 'Create key').first().click();
  await field(page, 'Name').fill(name);
  await field(page, 'Name').press('Enter');
  return await shownToken(page);
}

export async function shownToken(page) {
  await field(page, 'Key').waitFor();
  const token = await field(page, 'Key').inputValue();
  assert.match(token, /^vpk_(live|test)_[0-9A-Za-z]{32}$/);
  tokens.push(token);
  return token;
}

export async function act(page, action, name) {
  await row(page, name).getByRole('button', { name: new RegExp(`^${action} `) }).click();
}

export const state = (page, name, text) => row(page, name).getByText(text, { exact: true }).waitFor();

// What the API answers to a key.
export async function ask(token) {
  const answer = await fetch(`${service.origin}/v1/tasks/1`, { headers: { Authorization: `Bearer ${token}` } });
  return answer.ok ? answer.status : `${answer.status} ${(await answer.json()).error.code}`;
}

export const keyNamed = async (name) =>
  (await superuser.query('SELECT * FROM vpk.keys WHERE name = $1 ORDER BY id DESC', [name])).rows[0];
