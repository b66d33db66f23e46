//! A session of the walk, and what its transaction is like.

use crate::support::Client;
use crate::support::known::run;

/// How long a session waits for a lock. All sessions are driven by one thread: the one that holds
/// the lock does nothing meanwhile.
const IMPATIENT: &str = "SET lock_timeout = '30ms'; SET statement_timeout = '1s'";

pub struct Session {
    pub client: Client,
    number: usize,
    /// The open transaction's isolation level.
    pub isolation: Option<&'static str>,
    pub savepoints: Vec<String>,
    /// Whether the transaction may have changed something.
    pub wrote: bool,
    /// Whether the transaction has to be rolled back.
    pub failed: bool,
    /// The environments that the session accepts.
    pub accepted: String,
}

impl Session {
    pub fn new(mut client: Client, number: usize) -> Session {
        run(&mut client, IMPATIENT);
        Session {
            client,
            number,
            isolation: None,
            savepoints: Vec::new(),
            wrote: false,
            failed: false,
            accepted: "live,test".to_owned(),
        }
    }

    /// Runs a statement. What goes wrong fails the transaction, if there is one.
    pub fn run(&mut self, sql: &str) -> Result<(), postgres::Error> {
        let result = self.client.batch_execute(sql);
        self.failed |= result.is_err() && self.isolation.is_some();
        result
    }

    pub fn begin(&mut self, isolation: &'static str) -> Result<(), postgres::Error> {
        self.run(&format!("BEGIN ISOLATION LEVEL {isolation}"))?;
        self.isolation = Some(isolation);
        // From here on there is a snapshot.
        self.run("SELECT FROM vpk.keys LIMIT 1")
    }

    /// Ends the transaction by a statement, or by a rollback where that fails.
    pub fn end(&mut self, sql: &str) -> Result<(), postgres::Error> {
        let result = self.client.batch_execute(sql);
        if result.is_err() {
            // PREPARE TRANSACTION has ended it even so, or there is something to roll back.
            let _ = self.client.batch_execute("ROLLBACK");
        }
        self.isolation = None;
        self.savepoints.clear();
        self.wrote = false;
        self.failed = false;
        result
    }

    /// Goes back to a savepoint, or takes its name away.
    pub fn use_savepoint(&mut self, command: &str, at: usize) -> Result<(), postgres::Error> {
        self.failed = false;
        let result = self.run(&format!("{command} {}", self.savepoints[at]));
        self.savepoints.truncate(if command == "RELEASE" { at } else { at + 1 });
        result
    }

    /// Forgets everything that a session can forget.
    pub fn discard(&mut self) -> Result<(), postgres::Error> {
        self.run("DISCARD ALL")?;
        self.accepted = "live,test".to_owned();
        self.run(IMPATIENT)
    }

    /// Whether each statement of the transaction sees what was committed before it.
    pub fn sees_the_latest(&self) -> bool {
        self.isolation.is_none_or(|isolation| isolation == "READ COMMITTED")
    }

    pub fn is_serializable(&self) -> bool {
        self.isolation.is_some_and(|isolation| isolation.starts_with("SERIALIZABLE"))
    }

    /// For the report of a fault.
    pub fn state(&self) -> String {
        let Session { number, isolation, savepoints, wrote, accepted, .. } = self;
        let wrote = if *wrote { ", has written" } else { "" };
        format!("{number} in {isolation:?} {savepoints:?}{wrote}, accepting {accepted}")
    }
}
