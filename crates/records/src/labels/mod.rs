//! Sensitivity labels: found in `meta.security` and in code lists, spread over references, written as DS4P.

mod lists;
mod security;
mod set;
mod spread;

pub(crate) use lists::sensitivities_of;
pub(crate) use security::{Found, NORMAL, assigned, confidentiality_rank, found};
pub(crate) use set::Set;
pub(crate) use spread::{Links, spread};
