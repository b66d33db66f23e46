//! What was released stays as it was: a database that was made with it is upgraded, not made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// G8: the install script of a released version is the one that is kept in tests/released. Whoever changes
/// the SQL makes a new version, with an upgrade script.
#[test]
fn the_install_script_is_the_released_one() {
    let name = format!("vibepeak_keys--{CURRENT}.sql");
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released").join(&name);
    let installed = share_folder().join("extension").join(&name);
    let read = |path: &Path| match fs::read_to_string(path) {
        Ok(text) => statements(&text),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let (released, installed) = (read(&released), read(&installed));
    let different =
        released.iter().zip(&installed).find(|(released, installed)| released != installed);
    assert_eq!(different, None, "{name} is not what was released");
    assert_eq!(released.len(), installed.len(), "{name} is not what was released");
}

/// The lines of a script, sorted, since pgrx keeps no order among functions; without blank ones, and without
/// comments, in which it names places in the source.
fn statements(script: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut rest = script;
    while let Some((before, comment)) = rest.split_once("/*") {
        statements.push(before.to_owned());
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    statements.push(rest.to_owned());
    let lines = statements.concat();
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut lines: Vec<_> =
        lines.filter(|line| !line.starts_with("--")).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Where the server under test has its extensions' scripts.
fn share_folder() -> PathBuf {
    let pg_config = std::env::var_os("VIBEPEAK_PG_CONFIG").expect("run by make test-cluster");
    let output = Command::new(pg_config).arg("--sharedir").output().expect("pg_config answers");
    PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end())
}
