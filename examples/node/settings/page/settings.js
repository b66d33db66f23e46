// The script of the page "Settings, API". A token is in the field of its dialog and nowhere else:
// when the dialog is closed, the field is emptied.

const find = (selector, within = document) => within.querySelector(selector);
let session;

// Calls the service. The message of an error is for the reader of the page.
async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, body && {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'CSRF-Token': session.csrf_token },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error('The service cannot be reached. Try again later.');
  }
  if (answer.status === 401) location.reload(); // to the sign-in
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.message);
  return content;
}

// --- The list ---------------------------------------------------------------

let lastIds = []; // of the pages before the one that is shown
let page = { keys: [], more: false };
let questions = 0;

async function showList() {
  const question = ++questions;
  const { state, text } = find('#filter').elements;
  const query = new URLSearchParams();
  if (state.value) query.set('state', state.value);
  if (text.value.trim()) query.set('text', text.value.trim());
  if (lastIds.length) query.set('after', lastIds.at(-1));
  try {
    const answer = await call(`keys?${query}`);
    if (question !== questions) return; // another one was asked meanwhile
    page = answer;
    find('#keys').replaceChildren(...page.keys.map(rowOf));
    find('#empty').hidden = page.keys.length > 0;
    find('#newer').disabled = !lastIds.length;
    find('#older').disabled = !page.more;
    find('#problem').textContent = '';
  } catch (error) {
    find('#problem').textContent = error.message;
  }
}

const actionsOf = {
  active: ['rotate', 'disable', 'revoke'],
  disabled: ['rotate', 'enable', 'revoke'],
  expired: ['revoke'],
  revoked: [],
};

function rowOf(key) {
  const row = find('#row').content.cloneNode(true).firstElementChild;
  const part = (name) => find(`[data-part=${name}]`, row);
  row.dataset.id = key.id;
  part('name').textContent = key.name;
  part('scopes').textContent = key.scopes.join(', ');
  part('hint').textContent = `${key.hint}…`;
  part('state').textContent = key.state[0].toUpperCase() + key.state.slice(1);
  part('state').classList.add(key.state);
  if (key.revoked_at) part('revoked').append(time(key.revoked_at));
  part('created').append(time(key.created_at));
  part('used').append(key.last_used_at ? time(key.last_used_at) : 'Never');
  part('uses').textContent = Number(key.uses).toLocaleString('en');
  part('expires').append(key.expires_at ? time(key.expires_at) : 'Never');
  for (const button of row.querySelectorAll('button')) {
    const action = button.dataset.action;
    if (!actionsOf[key.state].includes(action)) {
      button.remove();
      continue;
    }
    button.setAttribute('aria-label', `${button.textContent} ${key.name}, ${key.hint}`);
    button.addEventListener('click', () => actions[action](key));
  }
  return row;
}

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const exact = new Intl.DateTimeFormat('en', { dateStyle: 'long', timeStyle: 'long' });
const units = [['year', 31536000], ['month', 2592000], ['day', 86400], ['hour', 3600], ['minute', 60]];

// "2 hours ago", "in 3 days"; the exact time is the title.
function time(text) {
  const element = document.createElement('time');
  const seconds = (new Date(text) - Date.now()) / 1000;
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? [];
  element.dateTime = text;
  element.title = exact.format(new Date(text));
  if (unit) element.textContent = relative.format(Math.round(seconds / size), unit);
  else element.textContent = seconds < 0 ? 'just now' : 'in less than a minute';
  return element;
}

find('#filter').addEventListener('submit', (event) => event.preventDefault());
find('#filter').addEventListener('input', async ({ target }) => {
  // Of a whole key that somebody pastes, only its hint goes into the address of a request.
  const hint = target.value.replace(/(vpk_.{9}).*/, '$1');
  if (hint !== target.value) target.value = hint;
  lastIds = [];
  await showList();
  const { keys, more } = page;
  say(`${keys.length}${more ? ' or more' : ''} ${keys.length === 1 ? 'key' : 'keys'}`);
});

async function turn() {
  await showList();
  find('#list').focus();
}
find('#older').addEventListener('click', () => {
  lastIds.push(page.keys.at(-1).id);
  turn();
});
find('#newer').addEventListener('click', () => {
  lastIds.pop();
  turn();
});

// --- What is left -----------------------------------------------------------

async function showLimits() {
  const { rates, quotas } = await call('limits');
  const lines = [...rates.map(rateLeft), ...quotas.map(quotaLeft)];
  find('#limits ul').replaceChildren(...lines);
  find('#limits').hidden = !lines.length;
}

const count = (number) => Number(number).toLocaleString('en');

// "Requests: 97 of 100 this minute, all again in less than a minute"
function rateLeft({ remaining, amount, burst, seconds, resets_at: resetsAt }) {
  const line = document.createElement('li');
  const most = burst === amount ? inPeriod(seconds) : `at once, ${count(amount)} ${perPeriod(seconds)}`;
  line.textContent = `Requests: ${count(remaining)} of ${count(burst)} ${most}`;
  if (remaining < burst) line.append(', all again ', time(resetsAt));
  return line;
}

const ofQuota = {
  hour: 'this hour', day: 'today', week: 'this week', month: 'this month', year: 'this year', total: 'in all',
};

// "Requests: 9,512 of 10,000 this month, all again in 12 days". What was charged afterwards may be
// more than there was.
function quotaLeft({ meter, period, remaining, allowed, resets_at: resetsAt }) {
  const line = document.createElement('li');
  const name = meter === 'calls' ? 'Requests' : meter[0].toUpperCase() + meter.slice(1);
  line.textContent = `${name}: ${count(Math.max(remaining, 0))} of ${count(allowed)} ${ofQuota[period]}`;
  if (resetsAt) line.append(', all again ', time(resetsAt));
  return line;
}

// A period in the largest unit that it is a whole number of: [10, 'minute']. One day is 24 hours, so
// that nobody thinks of midnight.
function inUnits(seconds) {
  const sizes = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];
  const [unit, size] = sizes.find(([unit, size]) =>
    seconds % size === 0 && !(unit === 'day' && seconds === size));
  return [seconds / size, unit];
}

const inPeriod = (seconds) => {
  const [number, unit] = inUnits(seconds);
  return number === 1 ? `this ${unit}` : `in ${number} ${unit}s`;
};

const perPeriod = (seconds) => {
  const [number, unit] = inUnits(seconds);
  return number === 1 ? `per ${unit}` : `per ${number} ${unit}s`;
};

find('#look').addEventListener('click', async () => {
  try {
    await showLimits();
    if (find('#limits').hidden) find('h1').focus(); // nothing is limited any more
    say('What is left is up to date.');
  } catch (error) {
    find('#problem').textContent = error.message;
  }
});

// --- Dialogs ----------------------------------------------------------------

function say(text) {
  find('#message').textContent = text;
}

for (const button of document.querySelectorAll('dialog .close')) {
  button.addEventListener('click', () => button.closest('dialog').close());
}

// Opens a dialog with a form. Submitting it calls `send`, and then `done` with what that returns.
// If `send` fails, the dialog stays open and says why.
function ask(dialog, send, done) {
  const form = find('form', dialog);
  const problem = find('.problem', form);
  let sending = false; // a second click must not issue a second key
  form.reset();
  problem.textContent = '';
  form.onsubmit = async (event) => {
    event.preventDefault();
    if (sending) return;
    sending = true;
    problem.textContent = '';
    try {
      const answer = await send(form.elements);
      dialog.close();
      done(answer);
    } catch (error) {
      problem.textContent = error.message;
    }
    sending = false;
  };
  dialog.showModal();
}

function showToken({ name, token }, closed) {
  const dialog = find('#token-dialog');
  find('#token-title').textContent = `Key of ${name}`;
  find('#token').value = token;
  dialog.onclose = () => {
    forgetToken();
    closed();
  };
  dialog.showModal();
  find('#copy').focus();
}

function forgetToken() {
  find('#token').value = '';
  find('#copied').textContent = '';
}
addEventListener('pagehide', forgetToken);

find('#copy').addEventListener('click', async () => {
  const field = find('#token');
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    find('#copied').textContent = 'Copied';
  } catch { // no permission, or the page came without TLS
    field.focus();
    find('#copied').textContent = 'The key is selected. Copy it with Ctrl+C or Command+C.';
  }
});

// --- Actions ----------------------------------------------------------------

find('#create').addEventListener('click', () => {
  const send = ({ name, environment, expiry, until }) => call('keys', {
    name: name.value,
    environment: environment.value,
    expires_at: expiresAt(expiry.value, until.value),
    scopes: [...scopes.querySelectorAll(':checked')].map(({ value }) => value),
  });
  ask(find('#create-dialog'), send, (key) => showToken(key, async () => {
    lastIds = [];
    await showList();
    say(`${key.name} was created.`);
  }));
  chooseExpiry();
});

// The number of days or the time that the reader has chosen; null for never.
function expiresAt(choice, until) {
  if (choice === 'never') return null;
  if (choice === 'custom') return new Date(until).toISOString();
  return new Date(Date.now() + choice * 86400000).toISOString();
}

function chooseExpiry() {
  const { expiry, until } = find('#create-dialog form').elements;
  until.required = expiry.value === 'custom';
  until.parentElement.hidden = !until.required;
}
find('#create-dialog [name=expiry]').addEventListener('change', chooseExpiry);

// Shows the list again. Its rows are new, so the focus goes to the new button of the same action,
// or to the key's name if that action is over.
async function finish(key, text, ...next) {
  await showList();
  const row = find(`#keys [data-id="${key.id}"]`);
  const target = row && (next.map((name) => find(`[data-action=${name}]`, row)).find(Boolean) ?? find('th', row));
  (target ?? find('h1')).focus();
  say(text);
}

async function simply(key, action, text, next) {
  try {
    await call(`keys/${key.id}/${action}`, {});
  } catch (error) {
    find('#problem').textContent = error.message;
    return;
  }
  await finish(key, text, next);
}

const actions = {
  disable: (key) => simply(key, 'disable', `${key.name} was disabled.`, 'enable'),
  enable: (key) => simply(key, 'enable', `${key.name} was enabled.`, 'disable'),
  rotate(key) {
    const dialog = find('#rotate-dialog');
    find('[data-part=key]', dialog).textContent = key.name;
    ask(dialog, ({ grace }) => call(`keys/${key.id}/rotate`, { grace: grace.value }),
      (successor) => showToken(successor, () => finish(key, `${key.name} was rotated.`, 'rotate')));
  },
  revoke(key) {
    const dialog = find('#revoke-dialog');
    find('[data-part=key]', dialog).textContent = key.name;
    ask(dialog, () => call(`keys/${key.id}/revoke`, {}), () => finish(key, `${key.name} was revoked.`));
  },
};

// --- Start ------------------------------------------------------------------

const scopes = find('#scopes');
find('#curl').textContent = `curl -H "Authorization: Bearer $VPK_KEY" \\\n  ${location.origin}/v1/tasks/1`;
try {
  session = await call('session');
  find('#who').textContent = `${session.name}, account ${session.account}`;
  for (const scope of session.scopes) {
    const choice = find('#scope').content.cloneNode(true);
    find('input', choice).value = scope;
    find('span', choice).textContent = scope;
    scopes.append(choice);
  }
  scopes.hidden = !session.scopes.length;
} catch (error) {
  find('#problem').textContent = error.message;
}
const [limits] = await Promise.allSettled([showLimits(), showList()]);
if (limits.reason) find('#problem').textContent = limits.reason.message;
