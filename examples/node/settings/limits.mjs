// What is left of the rate limits and quotas of the user's account. To look takes nothing of them.

export async function left(pool, user) {
  return {
    rates: await rows(pool,
      `SELECT remaining, amount, burst, extract(epoch FROM period)::integer AS seconds,
              now() + resets_in AS resets_at
         FROM keys.vpk_rate_limit_state($1::text)
        WHERE remaining IS NOT NULL ORDER BY period, policy`, user.account),
    quotas: await rows(pool,
      `SELECT meter, period, remaining, amount + granted AS allowed,
              nullif(resets_at, 'infinity') AS resets_at
         FROM keys.vpk_quota($1::text) ORDER BY meter, resets_at`, user.account),
  };
}

// Without rows for an account that the database does not know yet: it has no key.
async function rows(pool, query, account) {
  try {
    return (await pool.query(query, [account])).rows;
  } catch (error) {
    if (error.code === '22023') return [];
    throw error;
  }
}
