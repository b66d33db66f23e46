-- The functions of baseline.c; :library is where it was built.
CREATE FUNCTION bench.nothing(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_nothing';
CREATE FUNCTION bench.spi_lookup(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_spi_lookup';
CREATE FUNCTION bench.index_lookup(token text) RETURNS text
    LANGUAGE c VOLATILE AS :'library', 'baseline_index_lookup';
-- With the arguments and the columns of vpk_authenticate.
CREATE FUNCTION bench.empty_answer(
    "authorization" text, scope text DEFAULT NULL, client_ip inet DEFAULT NULL,
    request_id text DEFAULT NULL, environment text DEFAULT NULL
) RETURNS TABLE (
    status vpk.vpk_status, http_status integer, key_id uuid, key_name text, account text, plan text,
    environment text, scopes text[], metadata jsonb, expires_at timestamptz, request_id text,
    headers jsonb, error jsonb
) LANGUAGE c VOLATILE ROWS 1 AS :'library', 'baseline_empty_answer';
