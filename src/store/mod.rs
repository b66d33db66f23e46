//! The tables: the only place that knows them and speaks SQL.

pub mod accounts;
pub mod doctor;
pub mod grants;
pub mod issue;
pub mod keys;
pub mod leases;
pub mod rows;
pub mod usage;
