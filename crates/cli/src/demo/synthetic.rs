//! The synthetic patient of the demonstration: Maria Alvarez-Lind, who does not exist.
//!
//! Makes FHIR R4 transaction Bundles as a hospital would send them, with `urn:uuid` references and without security labels (but
//! for one note), so that reading, labelling and sealing have real work to do. There is no randomness and no clock here: the
//! same bytes come out every time. Every resource carries the tag `HTEST` (THO v3-ActReason, test health data).
//!
//! The story, 2014 to 2026: twelve years of yearly visits, an ankle, an appendix, rising blood pressure and sugar; and, in the
//! parts that patients want to share with care, contraception and a chlamydia test, an HIV screening, a BRCA1 test, violence by
//! a partner, a depressive episode and an alcohol use disorder that has come to rest.

mod chart;
mod episodes;
mod people;
#[cfg(test)]
mod tests;
mod visits;

use chart::{Chart, Visit, loinc, snomed};
use people::People;
use serde_json::json;

/// The last day of [`synthetic_patient`], as days since 1970-01-01: 2026-03-02.
const LAST_DAY: i64 = 20_514;

/// The patient's whole chart: a transaction Bundle of some four hundred resources, as JSON.
pub(crate) fn synthetic_patient() -> Vec<u8> {
    let mut chart = Chart::new(0);
    let people = People::enrol(&mut chart);
    visits::ordinary_care(&mut chart, &people);
    episodes::guarded_care(&mut chart, &people);
    chart.into_transaction()
}

/// A laboratory result that the hospital adds `day` days after the chart's end: HbA1c, an Observation under its
/// DiagnosticReport. Different days give different resources. It names the patient, the physician and the laboratory by their
/// ids in [`synthetic_patient`]. `day` is at most 2,900,000 (the year 9966).
pub(crate) fn new_result(day: u32) -> Vec<u8> {
    let mut chart = Chart::new(day.saturating_add(2));
    let people = People::elsewhere();
    let visit = Visit::without_encounter(&date(LAST_DAY + i64::from(day)), &people.gp, &people.laboratory);
    let code = loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood");
    let percent = f64::from(57 + day % 4) / 10.0;
    let result = chart.laboratory(&people, &visit, code.clone(), percent, "%");
    chart.report(&people, &visit, code, &[result], "Prediabetes range, stable.");
    chart.into_transaction()
}

/// An ordinary visit half a year after the chart's end: encounter, vital signs and a note. Made to be added after a
/// consent has been revoked.
pub(crate) fn later_visit() -> Vec<u8> {
    let mut chart = Chart::new(1);
    let people = People::elsewhere();
    let kind = snomed("185349003", "Encounter for check up");
    let visit = chart.encounter(&people, "2026-09-14", "AMB", kind, None, (&people.gp, &people.practice));
    chart.blood_pressure(&people, &visit, 126, 80);
    chart.vital(&people, &visit, loinc("29463-7", "Body Weight"), json!(70.8), "kg");
    chart.vital(&people, &visit, loinc("8867-4", "Heart rate"), json!(66), "/min");
    chart.note(
        &people,
        &visit,
        loinc("34108-1", "Outpatient Note"),
        "Visit for blood pressure, September 2026",
        "Feels well, walks daily. Blood pressure 126/80 on lisinopril. Continue, see again in spring.",
    );
    chart.into_transaction()
}

/// The calendar date, `YYYY-MM-DD`, of a day counted from 1970-01-01 (proleptic Gregorian calendar, years 1970 to 9999).
fn date(day: i64) -> String {
    // Counted from 1 March of year 0, so that a leap day ends its year.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day_of_month:02}")
}
