// Makes the pictures of the documentation: node screenshots.mjs FOLDER, with the variables of
// service.mjs.
import { join } from 'node:path';
import { start } from './service.mjs';

const KEYS = `
  CREATE TEMP TABLE shown (name, environment, scopes, days, expires, used, uses) AS VALUES
    ('Old laptop', 'live', '{}'::text[], 210, interval '1 year', interval '40 days', 318),
    ('Data export', 'live', '{}', 143, NULL, NULL, 0),
    ('Staging', 'test', '{tasks:write}', 96, '180 days', '3 hours', 20417),
    ('Mobile app', 'live', '{tasks:write}', 31, '90 days', '2 minutes', 184205),
    ('CI runner', 'live', '{tasks:write}', 12, '30 days', '26 minutes', 1203);
  CREATE TEMP TABLE created AS
    SELECT c.name, c.token FROM shown AS s,
           keys.vpk_create(s.name, 'acme', s.environment, now() + s.expires, s.scopes) AS c;
  UPDATE vpk.keys AS k SET created_at = now() - make_interval(days => s.days),
                           expires_at = k.expires_at - make_interval(days => s.days)
    FROM shown AS s WHERE s.name = k.name AND s.days < 90;
  UPDATE vpk.keys AS k SET created_at = now() - make_interval(days => s.days)
    FROM shown AS s WHERE s.name = k.name AND s.days >= 90;
  INSERT INTO vpk.key_usage (key_id, last_used_at, uses)
    SELECT k.id, now() - s.used, s.uses FROM shown AS s JOIN vpk.keys AS k ON k.name = s.name WHERE s.uses > 0;
  SELECT keys.vpk_disable(id) FROM vpk.keys WHERE name = 'Staging';
  SELECT keys.vpk_revoke(id, 'replaced') FROM vpk.keys WHERE name = 'Old laptop';
  SELECT keys.vpk_set_rate_limit('hour', 1000, '1 hour', account => 'acme'),
         keys.vpk_set_quota(50000, 'month', account => 'acme');
  SELECT a.status FROM created AS c, keys.vpk_authenticate('Bearer ' || c.token, cost => 288) AS a
   WHERE c.name = 'Mobile app';
  SELECT keys.vpk_charge(id, 12000) FROM vpk.keys WHERE name = 'Mobile app'`;

const { superuser, service, context, stop } = await start();
await superuser.query(KEYS);
await context.request.post(`${service.origin}/sign-in`, { form: { name: 'Ada', account: 'acme' } });
const page = await context.newPage();
await page.setViewportSize({ width: 1200, height: 700 });
for (const colorScheme of ['light', 'dark']) {
  await page.emulateMedia({ colorScheme });
  await page.goto(`${service.origin}/settings/api/`);
  await page.getByText('CI runner').first().waitFor();
  await page.getByText('What is left').waitFor();
  await page.screenshot({ path: join(process.argv[2], `settings-${colorScheme}.png`) });
}
await stop();
