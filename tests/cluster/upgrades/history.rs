//! G8 and G4: uses are counted before the update and after it, and over time from the update on.

use crate::support::keys::{create_for, revoke, set_plan, verify};
use crate::support::known::run;
use crate::support::usage::{FLUSH_EVERY_100MS, use_key, wait_for_uses};
use crate::support::{Cluster, value, wait_until};
use crate::upgrades::{made_with, old_versions, update};

/// Each released version: the new library writes uses to the old tables, and a key that was used
/// before the update has the later uses in its history. A standby's uses are added under both.
#[test]
fn uses_are_counted_over_time_from_the_update_on() {
    let cluster = Cluster::start(FLUSH_EVERY_100MS);
    for (number, old) in old_versions().iter().enumerate() {
        let mut client = made_with(&cluster, &format!("counted_{number}"), old);
        set_plan(&mut client, "acme", "Pro");
        let [key, ended, gone] =
            ["in use", "ended", "gone"].map(|name| create_for(&mut client, name, "acme"));
        revoke(&mut client, &ended);
        let added = "SELECT vpk_add_uses($1::text::uuid, now() - interval '1 day', 7)::text";
        let adds = !value(&mut client, "SELECT to_regproc('vpk_add_uses')::text", &[]).is_empty();
        use_key(&mut client, &key, 3);
        use_key(&mut client, &gone, 1);
        assert_eq!(verify(&mut client, &ended.token), "API_KEY_REVOKED", "{old}");
        wait_for_uses(&mut client, &key, 3);
        wait_for_uses(&mut client, &gone, 1);
        let before = if adds {
            assert_eq!(value(&mut client, added, &[&key.id]), "true");
            10
        } else {
            3
        };
        update(&mut client);
        use_key(&mut client, &key, 2);
        wait_for_uses(&mut client, &key, before + 2);
        let over_time = "SELECT coalesce(sum(uses), 0)::text FROM vpk_usage(id => $1::text::uuid)";
        assert_eq!(value(&mut client, over_time, &[&key.id]), "2", "{old}");
        assert_eq!(value(&mut client, added, &[&key.id]), "true");
        assert_eq!(value(&mut client, over_time, &[&key.id]), "9", "{old}");
        assert_eq!(verify(&mut client, &ended.token), "API_KEY_REVOKED");
        let denied = "SELECT count(*)::text FROM vpk.usage_history
                       WHERE key_id = $1::text::uuid AND status = 'API_KEY_REVOKED'";
        wait_until("the refusal is written", || value(&mut client, denied, &[&ended.id]) == "1");
        run(&mut client, "SELECT vpk_delete_account('acme')");
        let left = "SELECT count(*)::text FROM vpk.usage_history";
        assert_eq!(value(&mut client, left, &[]), "0", "{old}");
    }
}
