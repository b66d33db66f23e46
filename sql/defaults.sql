-- The plans and the account of a fresh database, and how a dump and a restore treat them.
--
-- CREATE EXTENSION makes these rows, including where pg_restore runs it. A row is pristine as long
-- as nobody has changed it. Only rows that are not pristine are dumped, and a restored row replaces
-- a pristine one. The name of a built-in row that was removed is kept, so that a restore removes
-- the row again.
--
-- A comment inside a function body is part of the function: to change it takes an update script.

CREATE TABLE vpk.removed_defaults (
    relation text COLLATE "C" NOT NULL CHECK (relation IN ('plans', 'accounts')),
    name     text COLLATE "C" NOT NULL,
    PRIMARY KEY (relation, name)
);

CREATE FUNCTION vpk.plans_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- Not of a row that is restored: see below.
    IF NEW.plan IS DISTINCT FROM OLD.plan AND (TG_OP = 'UPDATE' OR NEW.pristine IS NULL) THEN
        PERFORM vpk.check_plan(NEW.plan);
    END IF;
    IF NEW.rank IS NULL THEN
        SELECT least(coalesce(max(p.rank), 0)::bigint + 1, 2147483647) INTO NEW.rank
          FROM vpk.plans AS p;
    END IF;
    -- In one spelling, but not where a row is restored: it may have a form of a later release.
    IF TG_OP = 'UPDATE' AND NEW.pristine = OLD.pristine
       OR TG_OP = 'INSERT' AND NEW.pristine IS NULL THEN
        IF NEW.rate_limits IS DISTINCT FROM OLD.rate_limits THEN
            NEW.rate_limits := vpk.checked_rate_limits(NEW.rate_limits);
        END IF;
        IF NEW.quotas IS DISTINCT FROM OLD.quotas THEN
            NEW.quotas := vpk.checked_quotas(NEW.quotas);
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    -- Only a restore, and the install script, name the column.
    IF NOT NEW.pristine THEN
        UPDATE vpk.plans AS p
           SET api_access = NEW.api_access, concurrent_tasks = NEW.concurrent_tasks,
               rank = NEW.rank, rate_limits = NEW.rate_limits, quotas = NEW.quotas,
               pristine = false
         WHERE p.plan = NEW.plan AND p.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'plans' AND r.name = NEW.plan;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

CREATE FUNCTION vpk.accounts_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- In one spelling, but not where a row is restored: it may have a form of a later release.
    IF TG_OP = 'UPDATE' AND NEW.pristine = OLD.pristine
       OR TG_OP = 'INSERT' AND NEW.pristine IS NULL THEN
        IF NEW.rate_limits IS DISTINCT FROM OLD.rate_limits THEN
            NEW.rate_limits := vpk.checked_rate_limits(NEW.rate_limits);
        END IF;
        IF NEW.quotas IS DISTINCT FROM OLD.quotas THEN
            NEW.quotas := vpk.checked_quotas(NEW.quotas);
        END IF;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.account IS DISTINCT FROM OLD.account THEN
            RAISE object_not_in_prerequisite_state USING
                MESSAGE = pg_catalog.format('account "%s" cannot be renamed by an UPDATE', OLD.account),
                DETAIL = 'Its keys would be refused, since they are keys of that account.',
                HINT = 'Use vpk_rename_account(account, new_account), which takes the keys along.';
        END IF;
        NEW.pristine := OLD.pristine AND NEW IS NOT DISTINCT FROM OLD;
        RETURN NEW;
    END IF;
    IF NOT NEW.pristine THEN
        UPDATE vpk.accounts AS a
           SET plan = NEW.plan, created_at = NEW.created_at, rate_limits = NEW.rate_limits,
               quotas = NEW.quotas, quota_grants = NEW.quota_grants, pristine = false
         WHERE a.account = NEW.account AND a.pristine;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    DELETE FROM vpk.removed_defaults AS r WHERE r.relation = 'accounts' AND r.name = NEW.account;
    NEW.pristine := coalesce(NEW.pristine, false);
    RETURN NEW;
END
$$;

-- A plan that is in use cannot be removed. A new name of a plan is written to its accounts too.
CREATE FUNCTION vpk.plans_after_removal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        UPDATE vpk.accounts AS a SET plan = NEW.plan WHERE a.plan = OLD.plan;
    END IF;
    -- Sees accounts that this transaction's snapshot may not show.
    IF vpk.plan_in_use(OLD.plan) THEN
        RAISE EXCEPTION 'plan "%" is in use', OLD.plan
            USING ERRCODE = CASE TG_OP WHEN 'UPDATE' THEN 'serialization_failure'
                                       ELSE 'foreign_key_violation' END,
                  DETAIL = 'There are accounts on this plan.',
                  HINT = CASE TG_OP WHEN 'UPDATE' THEN 'Try the transaction again.'
                         ELSE 'Move them to another plan with vpk_set_plan first.' END;
    END IF;
    INSERT INTO vpk.removed_defaults (relation, name) VALUES ('plans', OLD.plan)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION vpk.accounts_after_removal() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO vpk.removed_defaults (relation, name) VALUES ('accounts', OLD.account)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;

CREATE FUNCTION vpk.removed_defaults_after_insert() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NEW.relation = 'plans' THEN
        -- No account is on a plan that was removed: a pristine one was moved or removed as well.
        DELETE FROM vpk.accounts AS a WHERE a.plan = NEW.name AND a.pristine;
        DELETE FROM vpk.plans AS p WHERE p.plan = NEW.name AND p.pristine;
    ELSE
        DELETE FROM vpk.accounts AS a WHERE a.account = NEW.name AND a.pristine;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER plans_before_write BEFORE INSERT OR UPDATE ON vpk.plans
    FOR EACH ROW EXECUTE FUNCTION vpk.plans_before_write();
CREATE TRIGGER accounts_before_write BEFORE INSERT OR UPDATE ON vpk.accounts
    FOR EACH ROW EXECUTE FUNCTION vpk.accounts_before_write();

INSERT INTO vpk.plans (plan, api_access, concurrent_tasks, rank, pristine) VALUES
    ('Free',    false, 0, 10, true),
    ('Starter', false, 0, 20, true),
    ('Plus',    true,  1, 30, true),
    ('Pro',     true,  3, 40, true);
INSERT INTO vpk.accounts (account, plan, pristine) VALUES ('default', 'Pro', true);

CREATE TRIGGER plans_after_delete AFTER DELETE ON vpk.plans
    FOR EACH ROW EXECUTE FUNCTION vpk.plans_after_removal();
CREATE TRIGGER plans_after_rename AFTER UPDATE OF plan ON vpk.plans
    FOR EACH ROW WHEN (OLD.plan IS DISTINCT FROM NEW.plan)
    EXECUTE FUNCTION vpk.plans_after_removal();
CREATE TRIGGER accounts_after_delete AFTER DELETE ON vpk.accounts
    FOR EACH ROW WHEN (OLD.account = 'default')
    EXECUTE FUNCTION vpk.accounts_after_removal();
CREATE TRIGGER removed_defaults_after_insert AFTER INSERT ON vpk.removed_defaults
    FOR EACH ROW EXECUTE FUNCTION vpk.removed_defaults_after_insert();

SELECT pg_catalog.pg_extension_config_dump('vpk.plans', 'WHERE NOT pristine');
SELECT pg_catalog.pg_extension_config_dump('vpk.accounts', 'WHERE NOT pristine');
SELECT pg_catalog.pg_extension_config_dump('vpk.removed_defaults', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.keys', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.key_usage', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.quota_usage', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.charges', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.usage_history', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.charge_history', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.task_leases', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.events', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.events_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('vpk.accepted_findings', '');
