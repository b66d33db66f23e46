//! No change is without its event, whatever the sequence of the events says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::thread;

use crate::dumps::{self, Folder};
use crate::support::keys::{create_for, set_plan};
use crate::support::known::run;
use crate::support::{Client, Cluster, value};

const SESSIONS: usize = 8;
const ROUNDS: usize = 25;

/// In each round the sequence is behind the rows, and eight sessions change keys at once: every
/// call succeeds, and every change has one event.
#[test]
fn each_change_of_eight_sessions_has_its_event_where_the_sequence_is_behind() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    set_plan(&mut client, "acme", "Pro");
    let mut sessions: Vec<Client> = (0..SESSIONS).map(|_| cluster.client()).collect();
    for _ in 0..ROUNDS {
        run(&mut client, "SELECT setval('vpk.events_id_seq', 1)");
        thread::scope(|scope| {
            for (number, session) in sessions.iter_mut().enumerate() {
                scope.spawn(move || {
                    let in_bulk = |session: &mut Client| {
                        let sql = "SELECT count(*)::text FROM generate_series(1, 5) AS g,
                                          vpk_create('in bulk ' || g, 'acme')";
                        assert_eq!(value(session, sql, &[]), "5");
                    };
                    // Some meet the conflict in bulk, and some with a single key.
                    if number % 2 == 0 {
                        in_bulk(session);
                    }
                    let key = create_for(session, "single", "acme");
                    if number % 2 == 1 {
                        in_bulk(session);
                    }
                    let sql = "SELECT vpk_disable(id)::text || vpk_revoke(id)::text
                                 FROM (SELECT $1::text::uuid AS id) AS k";
                    value(session, sql, &[&key.id]);
                });
            }
        });
    }
    let sql = "SELECT string_agg(event || ' ' || number, ', ' ORDER BY event)
                 FROM (SELECT event, count(*) AS number FROM vpk.events WHERE key_id IS NOT NULL
                        GROUP BY event) AS e";
    let rounds = SESSIONS * ROUNDS;
    assert_eq!(
        value(&mut client, sql, &[]),
        format!("key_created {}, key_disabled {rounds}, key_revoked {rounds}", rounds * 6)
    );
    let sql = "SELECT (SELECT count(*) FROM vpk.keys)
                    = (SELECT count(DISTINCT key_id) FROM vpk.events WHERE event = 'key_created')";
    assert!(client.query_one(sql, &[]).expect("a comparison").get::<_, bool>(0));
}

/// G7: the setting that names the actor may come with a connection, and then nothing has checked
/// its bytes. An event keeps text, which a dump brings back.
#[test]
fn an_actor_whose_bytes_are_no_text_is_kept_as_text() {
    let cluster = Cluster::start(&[]);
    let created = cluster
        .program("psql")
        .env("PGOPTIONS", OsStr::from_bytes(b"-c vibepeak_keys.actor=a\xffb"))
        .args(["-h", &cluster.socket(), "-U", "postgres"])
        .args(["-c", "SELECT FROM vpk_create('key')"])
        .status();
    assert!(created.expect("psql runs").success());
    let mut client = cluster.client();
    let sql = "SELECT actor FROM vpk.events WHERE event = 'key_created'";
    assert_eq!(value(&mut client, sql, &[]), "a?b");
    let folder = Folder::new("actor");
    let file = folder.file("dump");
    dumps::run(&cluster, "pg_dump", &["-f", &file, "postgres"]);
    run(&mut client, "CREATE DATABASE restored TEMPLATE template0");
    dumps::psql(&cluster, "restored", &file).expect("a restore");
}
