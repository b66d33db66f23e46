-- vpk_error and vpk.status_codes: the error table, and the bodies that follow the plans.

-- Statuses, HTTP statuses and messages, in the order in which they win.
SELECT status, http_status, message FROM vpk.status_codes;
SELECT count(*) AS without_description FROM vpk.status_codes WHERE coalesce(description, '') IN ('', message) OR description ~ 'reserved';
SELECT array_agg(status) = enum_range(NULL::vpk.vpk_status) AS all_in_order FROM vpk.status_codes;

-- A body for each; none for VALID and for null.
SELECT c.status, vpk_error(c.status, 'req_abc123xyz') AS body FROM vpk.status_codes AS c ORDER BY c.status;
SELECT vpk_error(NULL) IS NULL AS "null";
SELECT count(*) AS differing
  FROM vpk.status_codes AS c
 WHERE c.status <> 'VALID'
   AND (vpk_error(c.status, 'r') #>> '{error,code}', vpk_error(c.status, 'r') #>> '{error,message}')
       IS DISTINCT FROM (c.status::text, c.message);

-- The examples of the API documentation.
SELECT vpk_set_plan('freebie', 'Free');
SELECT vpk_error('INVALID_API_KEY', 'req_abc123xyz')
       = '{"error": {"code": "INVALID_API_KEY",
                     "message": "The provided API key is invalid or has been revoked",
                     "request_id": "req_abc123xyz"}}' AS invalid,
       vpk_error('PLAN_REQUIRED', 'req_abc123xyz', 'freebie')
       = '{"error": {"code": "PLAN_REQUIRED",
                     "message": "API access requires a Plus or Pro plan. Please upgrade your subscription.",
                     "request_id": "req_abc123xyz",
                     "details": {"current_plan": "Free", "required_plans": ["Plus", "Pro"]}}}' AS plan;

-- An account that is not there has no plan to tell of.
SELECT vpk_error('PLAN_REQUIRED', 'r', 'nobody') #> '{error,details}' AS details;

-- A request id is made where none is given, or none that may be echoed.
SELECT vpk_error('INVALID_API_KEY') #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS made,
       vpk_error('INVALID_API_KEY', '') #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS empty,
       vpk_error('INVALID_API_KEY', repeat('x', 129)) #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS long,
       vpk_error('INVALID_API_KEY', E'a\nb') #>> '{error,request_id}' ~ '^req_[0-9A-Za-z]{24}$' AS line_end;

-- Whatever the length of the id, each byte is as the server makes it of the same text.
SELECT count(body) AS bodies,
       bool_and(made *= expected) AS as_the_server_makes_it,
       bool_and(body #>> '{error,request_id}' = id AND body #>> '{error,code}' = status::text) AS right
  FROM vpk.status_codes, generate_series(1, 128) AS length,
       LATERAL left(repeat('r"\ ', 32), length) AS id, LATERAL vpk_error(status, id) AS body,
       LATERAL (SELECT body) AS made (b), LATERAL (SELECT body::text::jsonb) AS expected (b);

-- Messages and required plans follow the table, in the order of rank.
CREATE FUNCTION pg_temp.plan_required(OUT message text, OUT required_plans jsonb) LANGUAGE sql AS $$
    SELECT e #>> '{error,message}', e #> '{error,details,required_plans}'
      FROM vpk_error('PLAN_REQUIRED', 'r', 'freebie') AS e
$$;
BEGIN;
SELECT * FROM pg_temp.plan_required();
INSERT INTO vpk.plans (plan, api_access, concurrent_tasks) VALUES ('Team', true, 10);
SELECT * FROM pg_temp.plan_required();
SELECT message FROM vpk.status_codes WHERE status = 'PLAN_REQUIRED';
UPDATE vpk.plans SET rank = 1 WHERE plan = 'Team';
SELECT * FROM pg_temp.plan_required();
UPDATE vpk.plans SET api_access = false WHERE plan IN ('Team', 'Plus');
SELECT * FROM pg_temp.plan_required();
UPDATE vpk.plans SET plan = 'Enterprise' WHERE plan = 'Pro';
SELECT * FROM pg_temp.plan_required();
UPDATE vpk.plans SET api_access = false;
SELECT * FROM pg_temp.plan_required();
SELECT message FROM vpk.status_codes WHERE status = 'PLAN_REQUIRED';
UPDATE vpk.plans SET plan = E'Größe "L" \\ 100%', api_access = true WHERE plan = 'Plus';
SELECT * FROM pg_temp.plan_required();
ROLLBACK;
SELECT * FROM pg_temp.plan_required();

-- Of tasks, what is allowed and running.
SELECT vpk_set_plan('acme', 'Pro');
SELECT token FROM vpk_create('Key', 'acme') \gset
SELECT status FROM vpk_task_start(:'token');
SELECT vpk_error('CONCURRENCY_LIMIT_EXCEEDED', 'r', 'acme') AS body;
SELECT vpk_error('CONCURRENCY_LIMIT_EXCEEDED', 'r', 'nobody') AS body;

-- Clean up.
SELECT vpk_delete_account('acme'), vpk_delete_account('freebie');
