-- The alternatives as people usually write them. First, the tables of a team that is careful: they
-- have what an answer is made from, under the same names as in the extension.

CREATE TABLE bench.plans (plan text PRIMARY KEY, api_access boolean NOT NULL);
CREATE TABLE bench.accounts (account text PRIMARY KEY, plan text NOT NULL REFERENCES bench.plans);
CREATE TABLE bench.keys (
    id          uuid PRIMARY KEY,
    key_hash    bytea NOT NULL UNIQUE,
    account     text NOT NULL REFERENCES bench.accounts,
    environment text NOT NULL,
    name        text NOT NULL,
    scopes      text[] NOT NULL,
    metadata    jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    revoked_at  timestamptz,
    disabled_at timestamptz
);
INSERT INTO bench.plans SELECT plan, api_access FROM vpk.plans;
INSERT INTO bench.accounts SELECT account, plan FROM vpk.accounts;
INSERT INTO bench.keys
    SELECT id, key_hash, account, environment, name, scopes, metadata, created_at, expires_at,
           revoked_at, disabled_at
      FROM vpk.keys;

-- A table with an index on the hash of the key.

CREATE TABLE bench.api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account      text NOT NULL,
    key_hash     bytea NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);
INSERT INTO bench.api_keys (account, key_hash)
    SELECT 'default', sha256(token::bytea) FROM bench.issued;

CREATE FUNCTION bench.api_key_is_valid(token text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM api_keys
         WHERE key_hash = digest(token, 'sha256')
           AND revoked_at IS NULL
           AND (expires_at IS NULL OR expires_at > now())
    );
END
$$;

-- The same, and it records when a key was last used. It has a separate table, so that its dead row
-- versions do not slow down the others.
CREATE TABLE bench.used_api_keys (LIKE bench.api_keys INCLUDING ALL);
INSERT INTO bench.used_api_keys (account, key_hash) SELECT account, key_hash FROM bench.api_keys ORDER BY id;

CREATE FUNCTION bench.use_api_key(token text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE used_api_keys SET last_used_at = now()
     WHERE key_hash = digest(token, 'sha256')
       AND revoked_at IS NULL
       AND (expires_at IS NULL OR expires_at > now());
    RETURN FOUND;
END
$$;

-- A password hash for each key, found by the first characters of the key. The cost is the default
-- of pgcrypto; the usual advice is 10 or more.
CREATE TABLE bench.bcrypt_api_keys (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account    text NOT NULL,
    prefix     text NOT NULL UNIQUE,
    key_hash   text NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);
INSERT INTO bench.bcrypt_api_keys (account, prefix, key_hash)
    SELECT 'default', left(token, 16), crypt(token, gen_salt('bf')) FROM bench.every_key WHERE position <= 1000;
