//! Tests with a real client on servers that each test starts; `make test-cluster` runs them, and
//! docs/testing.md says how to run one.

mod advice;
mod cache;
mod command_line;
mod docs;
mod doctor;
mod drivers;
mod dumps;
mod events;
mod examples;
mod faults;
mod issuing;
mod limits;
mod log;
mod memory;
mod migrations;
mod reference;
mod replicas;
mod tasks;
mod upgrades;
mod usage;
mod verify;

use test_support as support;
