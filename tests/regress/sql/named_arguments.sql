-- Argument names are part of the interface: every function, by names alone, in another order.

SELECT vpk_set_plan(plan => 'Pro', account => 'acme');
SELECT id, token FROM vpk_create(metadata => '{"a": 1}', allowed_ips => NULL, scopes => '{run}', expires_at => '2999-01-01 00:00+00',
                                 environment => 'test', account => 'acme', name => 'Key', idempotency_key => 'a') \gset
SELECT vpk_verify(token => :'token');
SELECT vpk_verify_hash(client_ip => '192.0.2.1', key_hash => sha256(:'token'::bytea));
SELECT status, request_id FROM vpk_authenticate(cost => 2, environment => 'test', request_id => 'r', client_ip => '192.0.2.1', scope => 'run',
                                                "authorization" => 'Bearer ' || :'token');
SELECT vpk_error(account => 'acme', request_id => 'r', status => 'PLAN_REQUIRED') #>> '{error,details,current_plan}' AS plan;
SELECT name, expires_at FROM vpk_update(metadata => '{}', allowed_ips => '{}', scopes => '{run,walk}', expires_at => 'infinity',
                                        name => 'Renamed', id => :'id');
SELECT name FROM vpk_list(state => 'active', max_rows => 1, after => NULL, id => :'id', account => 'acme');
SELECT vpk_disable(id => :'id') IS NOT NULL AS disabled;
SELECT vpk_enable(id => :'id');
SELECT status, lease FROM vpk_task_start(cost => 0, environment => 'test', request_id => 'r', scope => 'run', client_ip => '192.0.2.1', ttl => '1 min', token => :'token') \gset
SELECT vpk_task_extend(ttl => '2 min', lease => :'lease') IS NOT NULL AS extended;
SELECT vpk_task_finish(lease => :'lease');
SELECT id AS new_id, token AS new_token, expires_at FROM vpk_rotate(idempotency_key => 'b', expires_at => '2999-01-01 00:00+00', grace => '1 hour', id => :'id') \gset
SELECT vpk_revoke(reason => 'r', id => :'id') IS NOT NULL AS revoked;
SELECT vpk_revoke_token(reason => 'r', token => :'new_token') = :'new_id' AS revoked;
SELECT vpk_revoke_account(reason => 'r', account => 'acme');
SELECT vpk_purge(max_rows => 1, before => '2001-01-01 00:00+00');
SELECT vpk_purge_events(max_rows => 1, before => '2001-01-01 00:00+00');
SELECT vpk_set_rate_limit(id => NULL, account => 'acme', plan => NULL, burst => 1, period => '1 s', amount => 1, policy => 'a');
SELECT vpk_set_quota(warn_at => 0.5, anchor => '2026-01-31', time_zone => 'UTC', id => NULL, account => 'acme', plan => NULL, meter => 'calls', period => 'day', amount => 1);
SELECT meter, period, used FROM vpk_quota(id => NULL, account => 'acme');
SELECT vpk_grant_quota(period => 'day', idempotency_key => 'g', reason => 'r', meter => 'calls', amount => 5, account => 'acme');
SELECT vpk_charge(idempotency_key => 'c', meter => 'calls', cost => 2, id => :'id');
SELECT vpk_rename_account(new_account => 'acme', account => 'acme');
SELECT * FROM vpk_rate_limit_state(id => NULL, account => 'acme');
SELECT vpk_reset_rate_limit(policy => 'a', id => NULL, account => 'acme');
SELECT vpk_rate_limit(cost => 1, burst => 0, period => '1 second', amount => 1, identifier => 'a');
SELECT vpk_usage(bucket => '1 minute', until => now(), since => '-infinity', id => NULL, account => 'default');
CREATE ROLE regress_vpk_somebody;
SELECT vpk_grant_verifier(role => 'regress_vpk_somebody');
SELECT vpk_grant_admin(role => 'regress_vpk_somebody');
SELECT vpk_delete_account(account => 'acme');

-- "One row" is a row of a function in FROM, whose columns can be taken by name.
SELECT count(*) AS without_from FROM (SELECT (vpk_authenticate(NULL)).status) AS a;

-- Clean up.
DROP OWNED BY regress_vpk_somebody;
DROP ROLE regress_vpk_somebody;
