//! Dumps and backups bring back every row, and every key answers as before.

mod altered;
mod backups;
mod load;
mod older;
mod owners;
mod partial;
mod roles;
mod whole;

use std::fs;
use std::path::PathBuf;

use crate::support::Cluster;

/// A folder for dumps, gone with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let name = format!("vibepeak_keys_{name}.{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder for the dumps");
        Folder(folder)
    }

    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs one of the client programs, which has to succeed.
pub fn run(cluster: &Cluster, program: &str, arguments: &[&str]) {
    if let Err(said) = attempt(cluster, program, arguments) {
        panic!("{program} {arguments:?}: {said}");
    }
}

/// Runs it; where it fails, what it said.
pub fn attempt(cluster: &Cluster, program: &str, arguments: &[&str]) -> Result<(), String> {
    let socket = cluster.socket();
    let output = cluster
        .program(program)
        .args(["-h", &socket, "-U", "postgres"])
        .args(arguments)
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// Runs a file of SQL.
pub fn psql(cluster: &Cluster, database: &str, file: &str) -> Result<(), String> {
    attempt(cluster, "psql", &["-Xq", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", file])
}
