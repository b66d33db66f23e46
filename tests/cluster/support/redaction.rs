//! Searches the log and other texts for parts of a key.

use std::fs;
use std::process::Command;

use super::{Client, Cluster, value, wait_until};

/// Where the log is written, and in which format: stderr, csvlog, jsonlog.
const FILES: [&str; 3] = ["server.log", "server.csv", "server.json"];

/// The line in which eight or more characters in a row of a key's secret are readable, in upper or
/// lower case.
pub fn exposed(text: &str, token: &str) -> Option<String> {
    let secret = token[13..].to_ascii_lowercase();
    let lines = text.lines().filter(|line| {
        let line = line.to_ascii_lowercase();
        secret.as_bytes().windows(8).any(|part| {
            line.contains(core::str::from_utf8(part).expect("keys are letters and digits"))
        })
    });
    lines.map(str::to_owned).next()
}

/// A key as redacted text shows it.
pub fn redacted(token: &str) -> String {
    format!("{}{}", &token[..13], "*".repeat(token.len() - 13))
}

/// A server that writes its log in all formats.
pub struct Logged {
    pub cluster: Cluster,
    marker: Client,
    marks: u32,
    seen: [usize; 3],
}

impl Logged {
    pub fn start(settings: &[(&str, &str)]) -> Logged {
        let collect = [
            ("logging_collector", "on"),
            ("log_directory", "log"),
            ("log_filename", "server.log"),
            ("log_destination", "stderr,csvlog,jsonlog"),
            ("log_rotation_age", "0"),
            ("log_rotation_size", "0"),
        ];
        let cluster = Cluster::start(&[&collect, settings].concat());
        let marker = cluster.client();
        Logged { cluster, marker, marks: 0, seen: [0; 3] }
    }

    /// What was logged since the last time, in each format, by statements that have ended.
    pub fn lines(&mut self) -> [String; 3] {
        self.marks += 1;
        let mark = format!("mark {} is here", self.marks);
        let sql = format!("DO $$ BEGIN RAISE LOG '{mark}'; END $$");
        self.marker.batch_execute(&sql).expect("a line in the log");
        let directory = self.cluster.data().join("log");
        let mut lines = [const { String::new() }; 3];
        for ((name, seen), lines) in FILES.iter().zip(&mut self.seen).zip(&mut lines) {
            wait_until("the mark is in the log", || {
                let bytes = fs::read(directory.join(name)).unwrap_or_default();
                *lines = String::from_utf8_lossy(bytes.get(*seen..).unwrap_or_default()).into();
                lines.contains(&mark)
            });
            *seen += lines.len();
        }
        lines
    }

    /// Asserts that a key is readable in no line since the last time; in how many formats it is
    /// shown redacted.
    pub fn assert_redacted(&mut self, what: &str, token: &str) -> usize {
        let mut shown = 0;
        for (format, lines) in FILES.iter().zip(self.lines()) {
            if let Some(line) = exposed(&lines, token) {
                panic!("{what}: {format} has {line}");
            }
            // A statement is redacted by a letter, the text of a message by asterisks.
            let is_shown =
                ["****", "xxxx"].iter().any(|it| lines.contains(&format!("{}{it}", &token[..13])));
            shown += usize::from(is_shown);
        }
        shown
    }
}

/// Those of the libraries that the server under test has.
pub fn libraries(wanted: &[&str]) -> Vec<String> {
    let pg_config = std::env::var("VIBEPEAK_PG_CONFIG").expect("an installed extension");
    let output = Command::new(pg_config).arg("--pkglibdir").output().expect("pg_config runs");
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let there = |name: &&&str| {
        let there = fs::exists(format!("{folder}/{name}.so")).expect("the modules' folder");
        if !there {
            println!("without {name}, which this server does not have");
        }
        there
    };
    wanted.iter().filter(there).map(|name| (*name).to_owned()).collect()
}

/// The server's major version.
pub fn major(client: &mut Client) -> u32 {
    let number = value(client, "SHOW server_version_num", &[]);
    number.parse::<u32>().expect("a version") / 10_000
}
