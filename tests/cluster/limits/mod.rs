//! Rate limits (G11) and quotas (G12).

mod answers;
mod clock;
mod identifiers;
mod quotas;
mod rates;
mod restarts;
mod transactions;
