//! `contrib/vpk`: keys at a terminal.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::known::run;
use crate::support::{Client, Cluster, value, wait_until};

/// Where the functions are: a name that has to be quoted.
const MAKE: &str = "CREATE SCHEMA \"its \"\" keys\";
    CREATE EXTENSION vibepeak_keys SCHEMA \"its \"\" keys\"";

/// A database without the extension, one with it, and the command line.
struct Terminal {
    cluster: Cluster,
    client: Client,
}

/// What a command printed, and its exit status.
#[derive(Debug)]
struct Said {
    output: String,
    messages: String,
    status: i32,
}

impl Terminal {
    fn start(settings: &[(&str, &str)]) -> Terminal {
        let cluster = Cluster::start(settings);
        run(&mut cluster.client(), "CREATE DATABASE keys");
        let mut client = cluster.connect("keys", "postgres");
        run(&mut client, MAKE);
        Terminal { cluster, client }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let psql = self.cluster.program("psql");
        let bin = Path::new(psql.get_program()).parent().expect("a folder").display();
        let mut command = self.cluster.program("bash");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/vpk")).args(arguments);
        command.env("PATH", format!("{bin}:/usr/bin:/bin")).env("PGHOST", self.cluster.socket());
        command.env("PGUSER", "postgres").env("PGDATABASE", "keys");
        command.current_dir(self.cluster.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn say(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.command(arguments).spawn().expect("bash runs");
        // A command that reads no input may have ended.
        let _ = child.stdin.take().expect("its input").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said {
            output: text(output.stdout),
            messages: text(output.stderr),
            status: output.status.code().unwrap_or(-1),
        }
    }

    /// A command that has to succeed; what it printed.
    fn done(&self, arguments: &[&str]) -> String {
        let said = self.say(arguments, "");
        assert_eq!(said.status, 0, "{arguments:?}: {said:?}");
        said.output
    }

    /// What `vpk verify` prints, which has to end with this exit status.
    fn verified(&self, token: &str, status: i32) -> String {
        let said = self.say(&["verify"], &format!("{token}\n"));
        assert_eq!(said.status, status, "{said:?}");
        said.output
    }

    fn add_account(&mut self, name: &str) {
        let sql = "SELECT \"its \"\" keys\".vpk_set_plan($1, 'Pro')";
        self.client.execute(sql, &[&name]).expect("an account");
    }

    fn id_of(&mut self, name: &str) -> String {
        let sql = "SELECT id::text FROM vpk.keys WHERE name = $1 ORDER BY id DESC LIMIT 1";
        value(&mut self.client, sql, &[&name])
    }
}

/// The life of a key: the token alone is on the standard output.
#[test]
fn a_key_is_issued_listed_rotated_verified_and_revoked() {
    let mut terminal = Terminal::start(&[]);
    terminal.add_account("acme");
    let options = ["--account", "acme", "--environment", "test", "--scopes", "a:read a:write"];
    let create = [&["create", "Production", "--expires-in", "90 days"], &options[..]].concat();
    let token = terminal.done(&create);
    let id = terminal.id_of("Production");
    let sql = "SELECT concat_ws(' ', account, environment, scopes,
                                round(extract(epoch FROM expires_at - created_at) / 86400))
                 FROM vpk.keys WHERE id = $1::text::uuid";
    assert_eq!(value(&mut terminal.client, sql, &[&id]), "acme test {a:read,a:write} 90");
    let verified = terminal.verified(token.trim_end(), 0);
    for part in ["VALID", "Production", "acme", "{a:read,a:write}", &id] {
        assert!(verified.contains(part), "{part}: {verified}");
    }
    // Without the line's end, too.
    assert_eq!(terminal.say(&["verify"], token.trim_end()).status, 0);

    let successor = terminal.done(&["rotate", &id, "1 day"]);
    assert_ne!(successor, token);
    assert!(terminal.verified(&token, 0).contains(&id));
    let next = terminal.id_of("Production");
    let last = terminal.done(&["rotate", &next]);
    assert!(terminal.verified(&successor, 1).contains("API_KEY_REVOKED"));

    let (listed, others) = (terminal.done(&["ls", "acme"]), terminal.done(&["ls", "another"]));
    for listed in [&listed, &terminal.done(&["ls"])] {
        assert!(listed.contains(&id) && listed.contains(&next), "{listed}");
    }
    assert!(!others.contains(&id) && others.contains("(0 rows)"), "{others}");
    for token in [&token, &successor, &last] {
        assert!(!listed.contains(token.trim_end()), "{listed}");
    }

    let id = terminal.id_of("Production");
    assert!(terminal.done(&["revoke", &id, "it leaked"]).starts_with("Revoked at 20"));
    let sql = "SELECT revoke_reason FROM vpk.keys WHERE id = $1::text::uuid";
    assert_eq!(value(&mut terminal.client, sql, &[&id]), "it leaked");
    let verified = terminal.verified(&last, 1);
    assert!(verified.contains("The API key has been revoked"), "{verified}");
}

/// Whatever an argument is, it is a value and no part of a statement or a command.
#[test]
fn arguments_are_values() {
    let mut terminal = Terminal::start(&[]);
    let names = [
        "it's \"quoted\"",
        "'; DROP SCHEMA vpk CASCADE; --",
        "\\'; DROP SCHEMA vpk CASCADE; --",
        "back\\slash\\",
        ":name :'id' :\"schema\"",
        "$(touch made) `touch made` $PATH",
        "\\! touch made",
        "-v",
        "%s%n",
        "größer",
    ];
    for name in names {
        terminal.add_account(name);
        let token = terminal.done(&["create", name, "--account", name]);
        let sql = "SELECT count(*)::text FROM vpk.keys WHERE name = $1 AND account = $1";
        assert_eq!(value(&mut terminal.client, sql, &[&name]), "1", "{name}");
        assert!(terminal.done(&["ls", name]).contains(token[..13].trim_end()), "{name}");
        let id = terminal.id_of(name);
        terminal.done(&["revoke", &id, name]);
        let sql = "SELECT revoke_reason FROM vpk.keys WHERE id = $1::text::uuid";
        assert_eq!(value(&mut terminal.client, sql, &[&id]), name);
        for bad in [["rotate", name], ["revoke", name]] {
            let said = terminal.say(&bad, "");
            assert!(said.messages.contains("invalid input syntax"), "{name}: {said:?}");
            assert_eq!(said.status, 3, "{name}: {said:?}");
        }
        let said = terminal.say(&["rotate", &id, name], "");
        assert!(said.messages.contains("invalid input syntax"), "{name}: {said:?}");
        assert!(terminal.verified(name, 1).contains("INVALID_API_KEY"), "{name}");
    }
    let made = Path::new(&terminal.cluster.socket()).join("made");
    assert!(!made.exists(), "a command in an argument was run");
}

/// Nobody else's code runs with the privileges of the one who calls, though it suits the types of
/// the arguments better than the server's own.
#[test]
fn operators_of_others_are_not_called() {
    let mut terminal = Terminal::start(&[]);
    let sql = "CREATE FUNCTION trap(jsonb, text) RETURNS text
               LANGUAGE plpgsql AS $$ BEGIN RAISE 'called as %', current_user; END $$;
               CREATE OPERATOR #>> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = trap)";
    run(&mut terminal.client, sql);
    assert!(terminal.verified("none", 1).contains("invalid or has been revoked"));
}

/// A token that cannot be written is a failure, whose message has the key's id.
#[test]
fn a_token_that_nobody_gets_is_a_failure() {
    let mut terminal = Terminal::start(&[]);
    let full = fs::File::options().write(true).open("/dev/full").expect("it is always full");
    let mut command = terminal.command(&["create", "lost"]);
    let output = command.stdin(Stdio::null()).stdout(full).output().expect("bash runs");
    assert!(!output.status.success(), "{output:?}");
    let messages = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(messages.contains(&terminal.id_of("lost")), "{messages}");
}

/// What the kernel shows to others of every process: its arguments and environment.
fn shown_of_all_processes() -> String {
    let mut shown = String::new();
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        for file in ["cmdline", "environ"] {
            // It may have ended.
            let bytes = fs::read(process.path().join(file)).unwrap_or_default();
            shown.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
    shown
}

/// While `vpk verify` waits for its answer, and in the server's log afterwards, even where the
/// library is not preloaded.
#[test]
fn a_token_to_verify_is_in_no_arguments_environment_or_log() {
    let settings = [("shared_preload_libraries", ""), ("log_statement", "all")];
    let mut terminal = Terminal::start(&settings);
    let token = terminal.done(&["create", "key"]);
    let token = token.trim_end();
    let mut holder = terminal.cluster.connect("keys", "postgres");
    run(&mut holder, "BEGIN; LOCK TABLE vpk.keys IN ACCESS EXCLUSIVE MODE");
    let mut verify = terminal.command(&["verify"]).spawn().expect("bash runs");
    let input = format!("{token}\n");
    verify.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    wait_until("the verification waits for the lock", || {
        value(&mut terminal.client, "SELECT count(*)::text FROM pg_locks WHERE NOT granted", &[])
            == "1"
    });
    let shown = shown_of_all_processes();
    assert!(shown.contains("contrib/vpk\0verify"), "the command is among the processes");
    assert!(shown.contains("PGDATABASE=keys"), "environments are");
    assert!(!shown.contains(token), "the token is shown");
    run(&mut holder, "COMMIT");
    let output = verify.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let log = terminal.cluster.log();
    assert!(log.contains("vpk_authenticate"), "statements are logged");
    assert!(!log.contains(token), "the token is in the log");
}

/// Problems of the installation and of the call have exit statuses of their own.
#[test]
fn problems_have_a_message_and_an_exit_status() {
    let mut terminal = Terminal::start(&[]);
    let said = terminal.say(&["-d", "template1", "ls"], "");
    assert!(said.messages.contains("extension vibepeak_keys is not in this database"), "{said:?}");
    assert_eq!(said.status, 3);
    assert_eq!(terminal.say(&["-d", "missing", "ls"], "").status, 2);
    for wrong in [
        &["create"][..],
        &["create", "key", "--account"],
        &["create", "key", "--name", "key"],
        &["create", "--help"],
        &["create", "--account", "default"],
        &["ls", "a", "b"],
        &["verify", "vpk_live_token"],
        &["make"],
        &["-d"],
    ] {
        let said = terminal.say(wrong, "");
        assert!(said.messages.starts_with("vpk: "), "{wrong:?}: {said:?}");
        assert_eq!(said.status, 2, "{wrong:?}");
    }
    assert!(terminal.say(&["verify"], "").messages.contains("no token"));
    let none = "SELECT count(*)::text FROM vpk.keys";
    assert_eq!(value(&mut terminal.client, none, &[]), "0", "a wrong call has issued a key");
    let usage = terminal.done(&[]);
    assert_eq!(terminal.done(&["help"]), usage);
    assert!(usage.contains("vpk revoke ID"), "{usage}");

    run(&mut terminal.client, "CREATE INDEX added ON vpk.keys (name)");
    let said = terminal.say(&["doctor"], "");
    assert!(said.output.contains("additions") && said.output.contains("added on vpk.keys"));
    assert_eq!(said.status, 1);
    run(&mut terminal.client, "DROP INDEX vpk.added");
    wait_until("all is well", || terminal.say(&["doctor"], "").status == 0);
    assert_eq!(terminal.done(&["doctor"]), "No problem found.\n");
}
