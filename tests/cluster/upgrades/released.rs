//! What was released stays as it was: a database that was made with it is upgraded, not made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

/// The version of the sources.
pub const CURRENT: &str = env!("CARGO_PKG_VERSION");

/// G8: the install script of a released version is the one in tests/released. A change of the
/// SQL takes a new version with an upgrade script; a version that is not released yet is newer than
/// all released ones.
#[test]
fn the_install_script_is_the_released_one() {
    let released = versions();
    assert!(!released.is_empty(), "nothing was released");
    if !released.iter().any(|version| version == CURRENT) {
        let newest = released.last().map(|version| numbers(version));
        assert!(newest < Some(numbers(CURRENT)), "{CURRENT} is older than what was released");
        return;
    }
    let name = script_name(CURRENT);
    let installed = share_folder().join("extension").join(&name);
    let (released, installed) = (lines(&folder().join(&name)), lines(&installed));
    let different =
        released.iter().zip(&installed).find(|(released, installed)| released != installed);
    assert_eq!(different, None, "{name} is not what was released");
    assert_eq!(released.len(), installed.len(), "{name} is not what was released");
}

/// G8: nobody edits a script that was released: each is the one that SHA256SUMS lists, and none is
/// missing.
#[test]
fn released_scripts_stay_as_they_are() {
    let found: String = versions()
        .iter()
        .map(|version| {
            let name = script_name(version);
            let hash = Sha256::digest(fs::read(folder().join(&name)).expect("a released script"));
            format!("{}  {name}\n", hex::encode(hash))
        })
        .collect();
    let listed = fs::read_to_string(folder().join("SHA256SUMS")).expect("SHA256SUMS");
    assert_eq!(found, listed, "what sha256sum says of tests/released, and SHA256SUMS");
}

/// Released versions, oldest first.
pub fn versions() -> Vec<String> {
    let scripts = fs::read_dir(folder()).expect("released scripts");
    let mut versions: Vec<String> = scripts
        .map(|script| script.expect("a script").file_name().into_string().expect("a plain name"))
        .filter(|name| name != "SHA256SUMS")
        .map(|name| {
            let version = name.strip_prefix("vibepeak_keys--");
            let version = version.and_then(|version| version.strip_suffix(".sql"));
            version.unwrap_or_else(|| panic!("{name} is no install script")).to_owned()
        })
        .collect();
    versions.sort_by_key(|version| numbers(version));
    versions
}

fn numbers(version: &str) -> Vec<u32> {
    let numbers: Result<_, _> = version.split('.').map(str::parse).collect();
    numbers.unwrap_or_else(|_| panic!("{version} is no version"))
}

fn script_name(version: &str) -> String {
    format!("vibepeak_keys--{version}.sql")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released")
}

fn lines(script: &Path) -> Vec<String> {
    match fs::read_to_string(script) {
        Ok(text) => statements(&text),
        Err(error) => panic!("{}: {error}", script.display()),
    }
}

/// The lines of a script, sorted, since pgrx keeps no order among functions; without blank ones,
/// and without comments, in which it names places in the source.
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
