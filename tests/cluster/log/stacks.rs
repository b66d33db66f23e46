//! The environment of the server does not put stacks into errors.

use crate::support::keys::create;
use crate::support::{Client, Cluster, report};

/// Errors of the server and of the extension, without numbers: times differ.
fn fails(client: &mut Client, id: &str) -> Vec<String> {
    [
        "SELECT vpk_revoke('ID', 'bad')",
        "SELECT vpk_set_plan('a', 'no such plan')",
        "SELECT vpk_revoke(gen_random_uuid())",
        "SELECT vpk_create('')",
    ]
    .map(|sql| client.batch_execute(&sql.replace("ID", id)).expect_err("an error"))
    .map(|error| report(&error).replace(|character: char| character.is_ascii_digit(), ""))
    .into()
}

/// Neither where the server has loaded the library nor where a session has.
#[test]
fn errors_carry_no_stack_with_rust_backtrace() {
    let cluster = Cluster::start(&[]);
    let mut client = cluster.client();
    let id = create(&mut client, "a key").id;
    client
        .batch_execute("ALTER TABLE vpk.keys ADD CHECK (revoke_reason <> 'bad')")
        .expect("a constraint");
    let expected = fails(&mut client, &id);
    for preloaded in ["vibepeak_keys", ""] {
        for variable in ["RUST_BACKTRACE=1", "RUST_LIB_BACKTRACE=1"] {
            cluster.down();
            cluster.set(&[("shared_preload_libraries", preloaded)]);
            cluster.up_with(&[variable]);
            let found = fails(&mut cluster.client(), &id);
            assert_eq!(found, expected, "{variable}");
            let log = cluster.log();
            assert!(!log.contains("::vpk_") && !log.contains("rust_begin_unwind"), "{log}");
        }
    }
}
