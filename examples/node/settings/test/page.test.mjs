// The page in a browser. Run: tools/test/settings-page
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { context, profile, service, stop, tokens } from './steps.mjs';
import './token.mjs';
import './keyboard.mjs';
import './screen_reader.mjs';
import './keys.mjs';
import './limits.mjs';
import './requests.mjs';

after(stop);

// The files below a folder in which one of the texts is.
async function filesWith(folder, texts) {
  const needles = texts.flatMap((text) => [Buffer.from(text), Buffer.from(text, 'utf16le')]);
  const found = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const content = await readFile(join(entry.path, entry.name));
    if (needles.some((needle) => content.includes(needle))) found.push(entry.name);
  }
  return found;
}

// The last test, since it closes the browser.
test('neither the files of the browser nor the log of the service have a token', async () => {
  await context.close();
  assert.ok((await filesWith(profile, ['/settings/api/'])).includes('History'), 'the browser has kept something');
  assert.notEqual(tokens.length, 0);
  assert.deepEqual(await filesWith(profile, tokens), []);
  for (const token of tokens) assert.ok(!service.log.includes(token));
});
