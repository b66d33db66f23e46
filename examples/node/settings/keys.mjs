// The SQL behind the page. Each statement reaches the keys of the user's account alone: for the id
// of another key there is no row.

const pageSize = 50;

// A page of keys, newest first, older than the key `after`. A text is searched for in all keys of
// the account; without one, the database reads one page.
export async function list(pool, user, { after, state, text }) {
  const { rows } = await pool.query(
    `SELECT id, name, hint, scopes, state, created_at, last_used_at, uses, expires_at, revoked_at
       FROM keys.vpk_list($1::text, after => $2::uuid, state => $3::text,
                          max_rows => CASE WHEN $4::text IS NULL THEN $5::integer END)
      WHERE $4::text IS NULL
         OR strpos(lower(name), lower($4::text)) > 0 OR strpos(hint, $4::text) > 0
      ORDER BY id DESC LIMIT $5::integer`,
    [user.account, after, state, text, pageSize + 1],
  );
  return { keys: rows.slice(0, pageSize), more: rows.length > pageSize };
}

export const create = (pool, user, { name, environment, expires_at, scopes }) => change(pool, user,
  `SELECT id, name, token
     FROM keys.vpk_create($2::text, $1::text, $3::text, $4::timestamptz, $5::text[])`,
  [name, environment, expires_at, scopes]);

export const rotate = (pool, user, { id, grace }) => change(pool, user,
  `SELECT successor.id, successor.name, successor.token
     FROM keys.vpk_list($1::text, $2::uuid) AS key,
          keys.vpk_rotate(key.id, $3::interval) AS successor`,
  [id, grace]);

export const disable = (pool, user, { id }) => change(pool, user,
  'SELECT id, keys.vpk_disable(id) FROM keys.vpk_list($1::text, $2::uuid)', [id]);

export const enable = (pool, user, { id }) => change(pool, user,
  'SELECT id, keys.vpk_enable(id) FROM keys.vpk_list($1::text, $2::uuid)', [id]);

export const revoke = (pool, user, { id }) => change(pool, user,
  `SELECT id, keys.vpk_revoke(id, 'revoked in the settings')
     FROM keys.vpk_list($1::text, $2::uuid)`, [id]);

// Runs a statement whose first parameter is the user's account, and returns its row. The extension
// records the user's name in its events.
async function change(pool, user, text, values) {
  const client = await pool.connect();
  let failure;
  try {
    await client.query('BEGIN');
    await client.query("SELECT set_config('vibepeak_keys.actor', $1::text, true)", [user.name]);
    const { rows } = await client.query(text, [user.account, ...values]);
    await client.query('COMMIT');
    return rows[0];
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    client.release(failure); // the pool closes a connection that has failed
  }
}
