//! Terms of consent and the one evaluator that decides on them.
//!
//! A pure core: no I/O, no clock, no randomness; `now` is a field of [`Request`]. It carries out house
//! rule 1, "a permit is a value": only the `decide*` functions make a [`Permit`], it cannot be copied,
//! and whatever releases keys or plaintext to anyone but the patient takes one by value.
//!
//! - [`Terms`] is what a grant says: an envelope (purposes, dates, expiry) around a tree of
//!   [`Provision`]s with the meaning of FHIR R4 `Consent.provision`. What a patient types
//!   ([`Selector`]) and what a hospital sends ([`from_fhir`]) become the same tree.
//! - [`decide`], [`decide_scope`], [`select`], [`coverage`] and [`preview`] all ask that one tree.
//!   Default deny; deny overrides permit; a doubt (a missing date, an author written in another
//!   way) never permits and always denies.

mod answer;
mod coverage;
mod decide;
mod describe;
mod evaluate;
mod fhir_in;
mod fhir_out;
mod grant;
mod label;
mod matching;
mod notice;
mod policy;
mod preview;
#[cfg(test)]
mod properties;
pub mod purpose;
mod selector;
mod strict_json;
mod terms;
#[cfg(test)]
mod testing;
mod when;

pub use coverage::{Coverage, coverage, coverage_for};
pub use decide::{Decision, Denied, Permit, PermitScope, Request, Scope, Selection, decide, decide_all, decide_scope, decide_scope_all, select};
pub use evaluate::Reason;
pub use fhir_in::{ConsentReadError, Imported, Recipient, from_fhir};
pub use fhir_out::{ConsentMeta, ConsentState, ConsentWriteError, to_fhir};
pub use grant::NoGrant;
pub use label::{ACT_CODE, CONFIDENTIALITY};
pub use notice::{Notice, notices};
pub use policy::{ACTION_SYSTEM, Action, CATEGORY_SYSTEM, Class, DataPeriod, DataReference, Effect, Label, Meaning, Period, Provision, SENSITIVITY_SYSTEM};
pub use preview::{Preview, Tally, preview};
pub use selector::{Selector, UnknownSelector};
pub use terms::{Law, Limits, Terms, TermsError};
