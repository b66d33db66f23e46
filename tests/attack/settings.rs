//! G2, G6: an admin's calls answer the same under any setting that a caller can change. Each
//! setting is tried at its extremes, with a scenario that calls every function.

mod scenario;

use crate::attack::Attack;
use crate::support::known::{assert_healthy, run as execute};
use crate::support::random::Random;
use crate::support::{Client, Cluster, report};

/// Settings that decide by their meaning what the scenario does, and those whose values cannot be
/// listed, with others to try.
const OTHERWISE: &[(&str, &[&str])] = &[
    // Nothing can be changed then, and one error ends the session.
    ("default_transaction_read_only", &["off"]),
    ("exit_on_error", &["off"]),
    ("TimeZone", &["Pacific/Kiritimati", "America/St_Johns", "<+15>-15", "UTC"]),
    ("DateStyle", &["SQL, DMY", "German", "Postgres, MDY", "ISO, YMD"]),
    ("search_path", &["", "vpk", "pg_temp", "nowhere", "pg_catalog, public"]),
    ("client_encoding", &["LATIN1", "SJIS", "UTF8"]),
    ("application_name", &["", "x\"y'z"]),
    ("default_tablespace", &["pg_default", ""]),
    ("default_table_access_method", &["heap"]),
    ("lc_numeric", &["C"]),
    ("lc_monetary", &["C"]),
    ("lc_time", &["C"]),
    ("default_text_search_config", &["simple", "pg_catalog.german"]),
    ("timezone_abbreviations", &["Default", "India"]),
];

/// What a caller can set: the name, and the values to try.
const EXTREMES: &str = "
    SELECT name, CASE vartype WHEN 'bool' THEN '{on,off}'::text[] WHEN 'enum' THEN enumvals
                 ELSE ARRAY[min_val, max_val] END
      FROM pg_settings WHERE context = 'user' AND vartype IN ('bool', 'enum', 'integer', 'real')
     ORDER BY name";

pub fn run(attack: &Attack) {
    let cluster = Cluster::start(&[]);
    let mut owner = cluster.client();
    execute(&mut owner, "CREATE ROLE caller LOGIN; SELECT vpk_grant_admin('caller')");
    let expected = calls(&mut owner, &mut connect(&cluster));
    let again = calls(&mut owner, &mut connect(&cluster));
    assert_eq!(expected, again, "the scenario answers the same without any setting");

    let mut wanted = values(&mut owner);
    let mut round = 0;
    while attack.goes_on() {
        let mut random = attack.random(round, 0);
        round += 1;
        shuffle(&mut wanted, &mut random);
        for (name, value) in &wanted {
            if !attack.goes_on() {
                break;
            }
            let mut caller = connect(&cluster);
            let set = caller.execute("SELECT set_config($1, $2, false)", &[name, value]);
            // Some values are not for this machine or server.
            if set.is_err() {
                continue;
            }
            attack.step();
            let found = calls(&mut owner, &mut caller);
            for (found, expected) in found.iter().zip(&expected) {
                attack.check(found == expected, || {
                    format!("{name} = {value}: {found}\n  instead of {expected}")
                });
            }
        }
    }
    assert_healthy(&cluster);
}

fn connect(cluster: &Cluster) -> Client {
    cluster.connect("postgres", "caller")
}

/// Every setting with each value to try.
fn values(owner: &mut Client) -> Vec<(String, String)> {
    let rows = owner.query(EXTREMES, &[]).expect("the settings");
    let extremes = rows.iter().map(|row| (row.get::<_, String>(0), row.get::<_, Vec<String>>(1)));
    let extremes =
        extremes.filter(|(name, _)| OTHERWISE.iter().all(|(otherwise, _)| otherwise != name));
    let otherwise = OTHERWISE.iter().map(|(name, values)| {
        ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
    });
    let all = extremes.chain(otherwise);
    all.flat_map(|(name, values): (String, Vec<String>)| {
        values.into_iter().map(move |value| (name.clone(), value))
    })
    .collect()
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// The answers of the whole scenario, from an empty beginning.
fn calls(owner: &mut Client, caller: &mut Client) -> Vec<String> {
    owner.batch_execute(scenario::BEGINNING).unwrap_or_else(|error| panic!("{}", report(&error)));
    let mut names = Vec::new();
    scenario::CALLS.iter().map(|sql| scenario::call(caller, sql, &mut names)).collect()
}
