// A token is in its dialog and nowhere else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, button, context, create, field, keyNamed, open, row, service } from './steps.mjs';

// Everything that a page still has of what it has shown.
const traces = () => JSON.stringify([
  document.documentElement.outerHTML,
  document.documentElement.innerText,
  [...document.querySelectorAll('input, select')].map((input) => input.value),
  location.href, history.state, document.title, document.cookie,
  { ...localStorage }, { ...sessionStorage },
]);

test('a token is nowhere after its dialog was closed', async () => {
  const page = await open();
  const requests = [];
  page.on('request', (request) => requests.push(request.url(), request.postData() ?? ''));

  const token = await create(page, 'Shown once');
  assert.ok((await page.evaluate(traces)).includes(token), 'the check sees a token that is there');
  await button(page, 'Copy key').click();
  await page.getByText('Copied').waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), token);
  await page.evaluate(() => navigator.clipboard.writeText(''));
  await button(page, 'Done').click();
  await row(page, 'Shown once').waitFor();

  assert.ok(!(await page.evaluate(traces)).includes(token), 'in the page');
  await page.reload();
  await row(page, 'Shown once').waitFor();
  await page.goto('about:blank');
  await page.goBack();
  await row(page, 'Shown once').waitFor();
  assert.ok(!(await page.evaluate(traces)).includes(token), 'in the page, loaded again');

  const devtools = await context.newCDPSession(page);
  const history = await devtools.send('Page.getNavigationHistory');
  assert.ok(!JSON.stringify(history).includes(token), 'in the history');
  const databases = await page.evaluate(async () => [await indexedDB.databases(), await caches.keys()]);
  assert.deepEqual(databases, [[], []]);
  assert.ok(requests.some((text) => text.includes('Shown once')), 'the check sees requests');
  assert.ok(!requests.join().includes(token), 'in a request');
  assert.equal(await ask(token), 200);
  assert.ok(service.log.includes((await keyNamed('Shown once')).id), 'the service has a log');
  assert.ok(!service.log.includes(token), 'in the log of the service');
  await page.close();
});

test('a token is not left in a page that is left with its dialog open', async () => {
  const page = await open();
  const token = await create(page, 'Left open');
  await page.evaluate(() => dispatchEvent(new PageTransitionEvent('pagehide')));
  assert.equal(await field(page, 'Key').inputValue(), '', 'a browser may keep a page that was left');
  await page.goto('about:blank');
  await page.goBack();
  await row(page, 'Left open').waitFor();
  assert.ok(!(await page.evaluate(traces)).includes(token));
  await page.close();
});

test('of a key that is pasted into the filter only the hint is sent', async () => {
  const page = await open();
  const token = await create(page, 'Pasted');
  await button(page, 'Done').click();
  // Said when the list is there again, before any other list is asked for.
  await page.getByRole('status').getByText('Pasted was created.').waitFor();
  const requests = [];
  page.on('request', (request) => requests.push(request.url()));
  await page.getByRole('searchbox').fill(token);
  await page.getByRole('status').getByText('1 key', { exact: true }).waitFor();
  await row(page, 'Pasted').waitFor();
  assert.ok(requests.some((url) => url.endsWith(`text=${token.slice(0, 13)}`)));
  assert.ok(!requests.join().includes(token.slice(0, 14)));
  assert.ok(!(await page.evaluate(traces)).includes(token));
  await page.close();
});
