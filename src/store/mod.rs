//! The tables: the only place that knows them and speaks SQL.

pub mod accounts;
pub mod create;
pub mod doctor;
pub mod keys;
pub mod leases;
pub mod lookup;
pub mod roles;
pub mod usage;
