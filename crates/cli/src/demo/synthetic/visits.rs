//! The ordinary part of the story: yearly visits with their vital signs, laboratory panels and vaccines, and what is treated
//! along the way. Nothing here is on a list of sensitive codes.

use super::chart::{Chart, Visit, cvx, diagnosis, loinc, rxnorm, snomed};
use super::people::People;
use serde_json::{Value, json};

/// One yearly visit: date, weight in tenths of a kilogram, blood pressure, heart rate.
const YEARS: [(&str, u32, (u32, u32), u32); 13] = [
    ("2014-03-04", 642, (116, 74), 66),
    ("2015-03-10", 648, (118, 74), 68),
    ("2016-03-08", 655, (118, 76), 64),
    ("2017-03-14", 651, (120, 76), 67),
    ("2018-03-06", 660, (122, 78), 66),
    ("2019-03-12", 668, (124, 78), 70),
    ("2020-03-03", 689, (128, 82), 74),
    ("2021-03-09", 716, (134, 86), 76),
    ("2022-03-08", 742, (144, 92), 75),
    ("2023-03-07", 738, (132, 84), 70),
    ("2024-03-05", 726, (128, 80), 68),
    ("2025-03-04", 718, (126, 80), 67),
    ("2026-03-02", 712, (124, 78), 66),
];

const HEIGHT_CM: f64 = 165.0;

/// A test of a panel: LOINC code, name, unit, tenths of the unit at the first visit, tenths it gains at each later panel.
type Test = (&'static str, &'static str, &'static str, i32, i32);

const BLOOD_COUNT: [Test; 8] = [
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 62, 1),
    ("789-8", "Erythrocytes [#/volume] in Blood by Automated count", "10*6/uL", 46, 0),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 134, 1),
    ("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", 402, 2),
    ("787-2", "MCV [Entitic volume] by Automated count", "fL", 884, 3),
    ("785-6", "MCH [Entitic mass] by Automated count", "pg", 295, 1),
    ("786-4", "MCHC [Mass/volume] by Automated count", "g/dL", 334, 1),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", 2480, -20),
];

const METABOLIC: [Test; 8] = [
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 880, 45),
    ("3094-0", "Urea nitrogen [Mass/volume] in Serum or Plasma", "mg/dL", 130, 4),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 8, 0),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", 94, 0),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", 1400, -3),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", 42, 0),
    ("2075-0", "Chloride [Moles/volume] in Serum or Plasma", "mmol/L", 1030, -2),
    ("2028-9", "Carbon dioxide, total [Moles/volume] in Serum or Plasma", "mmol/L", 250, 1),
];

const LIPIDS: [Test; 4] = [
    ("2093-3", "Cholesterol [Mass/volume] in Serum or Plasma", "mg/dL", 1820, 90),
    ("2571-8", "Triglyceride [Mass/volume] in Serum or Plasma", "mg/dL", 1010, 80),
    ("2085-9", "Cholesterol in HDL [Mass/volume] in Serum or Plasma", "mg/dL", 560, -10),
    ("18262-6", "Cholesterol in LDL [Mass/volume] in Serum or Plasma by Direct assay", "mg/dL", 1060, 90),
];

pub(super) fn ordinary_care(chart: &mut Chart, people: &People) {
    for (year, &(date, weight, pressure, pulse)) in YEARS.iter().enumerate() {
        let kind = snomed("185349003", "Encounter for check up");
        let visit = chart.encounter(people, date, "AMB", kind.clone(), None, (&people.gp, &people.practice));
        vital_signs(chart, people, &visit, f64::from(weight) / 10.0, pressure, pulse);
        chart.immunization(people, &visit, cvx("140", "Influenza, seasonal, injectable, preservative free"));
        let step = i32::try_from(year / 2).unwrap_or(0);
        if year % 3 == 0 {
            let code = loinc("58410-2", "Complete blood count panel - Blood by Automated count");
            panel(chart, people, &visit, code, &BLOOD_COUNT, step, "All within the reference range.");
        }
        if year % 2 == 0 {
            let code = loinc("24321-2", "Basic metabolic 2000 panel - Serum or Plasma");
            panel(chart, people, &visit, code, &METABOLIC, step, "Fasting glucose rising over the years.");
        } else {
            let code = loinc("24331-1", "Lipid 1996 panel - Serum or Plasma");
            panel(chart, people, &visit, code, &LIPIDS, step, "See trend of LDL cholesterol.");
        }
        if matches!(year, 0 | 4 | 12) {
            chart.claim(people, &visit, kind, None, 180);
        }
        match year {
            0 => allergies(chart, people, &visit),
            2 => drop(chart.immunization(people, &visit, cvx("115", "Tdap"))),
            7 => sugar(chart, people, &visit),
            8 => pressure_treated(chart, people, &visit),
            11 => cholesterol_treated(chart, people, &visit),
            _ => {}
        }
        if year > 7 {
            let code = loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood");
            let percent = [5.9, 6.0, 5.9, 5.8, 5.7][year - 8];
            let result = chart.laboratory(people, &visit, code.clone(), percent, "%");
            chart.report(people, &visit, code, &[result], "Prediabetes range.");
        }
    }
    covid_vaccines(chart, people);
    ankle(chart, people);
    appendix(chart, people);
    mammography(chart, people);
}

fn vital_signs(chart: &mut Chart, people: &People, visit: &Visit, weight: f64, pressure: (u32, u32), pulse: u32) {
    let index = (weight / (HEIGHT_CM / 100.0).powi(2) * 10.0).round() / 10.0;
    chart.vital(people, visit, loinc("8302-2", "Body Height"), json!(HEIGHT_CM), "cm");
    chart.vital(people, visit, loinc("29463-7", "Body Weight"), json!(weight), "kg");
    chart.vital(people, visit, loinc("39156-5", "Body Mass Index"), json!(index), "kg/m2");
    chart.blood_pressure(people, visit, pressure.0, pressure.1);
    chart.vital(people, visit, loinc("8867-4", "Heart rate"), json!(pulse), "/min");
    chart.vital(people, visit, loinc("9279-1", "Respiratory rate"), json!(14), "/min");
    chart.vital(people, visit, loinc("8310-5", "Body temperature"), json!(36.7), "Cel");
    let smoking = loinc("72166-2", "Tobacco smoking status NHIS");
    chart.finding(people, visit, "social-history", smoking, snomed("266919005", "Never smoker"));
}

fn panel(chart: &mut Chart, people: &People, visit: &Visit, code: Value, tests: &[Test], step: i32, conclusion: &str) {
    let results: Vec<String> = tests
        .iter()
        .map(|&(loinc_code, name, unit, first, gain)| {
            let value = f64::from(first + gain * step) / 10.0;
            chart.laboratory(people, visit, loinc(loinc_code, name), value, unit)
        })
        .collect();
    chart.report(people, visit, code, &results, conclusion);
}

fn allergies(chart: &mut Chart, people: &People, visit: &Visit) {
    let hives = snomed("247472004", "Hives");
    let sneezing = snomed("76067001", "Sneezing");
    chart.allergy(people, visit, snomed("91936005", "Allergy to penicillin"), "medication", hives);
    chart.allergy(people, visit, snomed("418689008", "Allergy to grass pollen"), "environment", sneezing);
    let rhinitis = snomed("367498001", "Seasonal allergic rhinitis");
    let rhinitis = chart.condition(people, visit, rhinitis, "active", None);
    let loratadine = rxnorm("311372", "Loratadine 10 MG Oral Tablet");
    chart.prescription(people, visit, loratadine, "active", &rhinitis, "One tablet daily in May and June");
}

fn sugar(chart: &mut Chart, people: &People, visit: &Visit) {
    let code = diagnosis("15777000", "R73.03", "Prediabetes");
    let prediabetes = chart.condition(people, visit, code, "active", None);
    let activities = [snomed("160670007", "Diabetic diet"), snomed("229065009", "Exercise therapy")];
    let category = snomed("698360004", "Diabetes self management plan");
    chart.plan(people, visit, category, &prediabetes, &activities, true);
    chart.add(
        "Goal",
        json!({
            "lifecycleStatus": "active",
            "description": {"text": "HbA1c below 5.7 %"},
            "subject": {"reference": people.patient},
            "startDate": "2021-03-09",
            "target": [{
                "measure": loinc("4548-4", "Hemoglobin A1c/Hemoglobin.total in Blood"),
                "detailQuantity": {"value": 5.7, "comparator": "<", "unit": "%"},
            }],
            "addresses": [{"reference": prediabetes}],
        }),
    );
}

fn pressure_treated(chart: &mut Chart, people: &People, visit: &Visit) {
    let code = diagnosis("59621000", "I10", "Essential hypertension");
    let hypertension = chart.condition(people, visit, code, "active", None);
    let lisinopril = rxnorm("314076", "lisinopril 10 MG Oral Tablet");
    chart.prescription(people, visit, lisinopril, "active", &hypertension, "One tablet each morning");
    let title = "Visit for blood pressure, March 2022";
    let text = "Blood pressure 144/92, home readings agree. Father has hypertension. Started lisinopril 10 mg. \
                Creatinine and potassium in two weeks. Less salt, walking.";
    chart.note(people, visit, loinc("34108-1", "Outpatient Note"), title, text);
}

fn cholesterol_treated(chart: &mut Chart, people: &People, visit: &Visit) {
    let code = diagnosis("13644009", "E78.00", "Hypercholesterolemia");
    let cholesterol = chart.condition(people, visit, code, "active", None);
    let simvastatin = rxnorm("312961", "Simvastatin 20 MG Oral Tablet");
    let tablet = json!({"text": "Oral tablet"});
    let medication = chart.add("Medication", json!({"status": "active", "code": simvastatin, "form": tablet}));
    chart.prescription(people, visit, json!(medication), "active", &cholesterol, "One tablet each evening");
}

fn covid_vaccines(chart: &mut Chart, people: &People) {
    for date in ["2021-04-20", "2021-05-11"] {
        let visit = Visit::without_encounter(date, &people.gp, &people.practice);
        chart.immunization(people, &visit, cvx("208", "COVID-19, mRNA, LNP-S, PF, 30 mcg/0.3 mL dose"));
    }
}

fn ankle(chart: &mut Chart, people: &People) {
    let kind = snomed("50849002", "Emergency room admission");
    let reason = snomed("44465007", "Sprain of ankle");
    let with = (people.surgeon.as_str(), people.hospital.as_str());
    let visit = chart.encounter(people, "2015-07-19", "EMER", kind.clone(), Some(reason), with);
    let code = diagnosis("44465007", "S93.402A", "Sprain of ankle");
    let sprain = chart.condition(people, &visit, code, "resolved", Some("2015-08-30"));
    let x_ray = snomed("19490002", "Ankle X-ray");
    chart.procedure(people, &visit, x_ray.clone(), Some(&sprain));
    chart.imaging(people, &visit, "DX", x_ray, "No fracture. Soft tissue swelling at the outer ankle.");
    let ibuprofen = rxnorm("310965", "Ibuprofen 200 MG Oral Tablet");
    chart.prescription(people, &visit, ibuprofen, "completed", &sprain, "Two tablets up to three times daily for a week");
    let text = "Twisted left ankle on a trail. No fracture on X-ray. Rest, ice, bandage, ibuprofen.";
    chart.note(people, &visit, loinc("34108-1", "Outpatient Note"), "Emergency visit, July 2015", text);
    chart.claim(people, &visit, kind, Some(&sprain), 640);
}

fn appendix(chart: &mut Chart, people: &People) {
    let kind = snomed("183452005", "Encounter Inpatient");
    let reason = snomed("74400008", "Appendicitis");
    let with = (people.surgeon.as_str(), people.hospital.as_str());
    let visit = chart.encounter(people, "2017-01-22", "IMP", kind.clone(), Some(reason), with);
    let code = diagnosis("74400008", "K37", "Appendicitis");
    let appendicitis = chart.condition(people, &visit, code, "resolved", Some("2017-02-10"));
    let code = loinc("58410-2", "Complete blood count panel - Blood by Automated count");
    let white = chart.laboratory(people, &visit, loinc(BLOOD_COUNT[0].0, BLOOD_COUNT[0].1), 14.8, "10*3/uL");
    let hemoglobin = chart.laboratory(people, &visit, loinc(BLOOD_COUNT[2].0, BLOOD_COUNT[2].1), 13.1, "g/dL");
    chart.report(people, &visit, code, &[white, hemoglobin], "Leukocytosis.");
    chart.vital(people, &visit, loinc("8310-5", "Body temperature"), json!(38.4), "Cel");
    chart.procedure(people, &visit, snomed("80146002", "Appendectomy"), Some(&appendicitis));
    let acetaminophen = rxnorm("313782", "Acetaminophen 325 MG Oral Tablet");
    chart.prescription(people, &visit, acetaminophen, "completed", &appendicitis, "Two tablets every six hours as needed");
    let text = "Laparoscopic appendectomy on the day of admission, without complication. Penicillin allergy observed. \
                Discharged on the second day, wounds dry.";
    chart.note(people, &visit, loinc("18842-5", "Discharge Summary"), "Discharge summary, January 2017", text);
    chart.claim(people, &visit, kind, Some(&appendicitis), 11_400);
}

fn mammography(chart: &mut Chart, people: &People) {
    let kind = snomed("185349003", "Encounter for check up");
    let with = (people.radiologist.as_str(), people.hospital.as_str());
    let visit = chart.encounter(people, "2024-05-16", "AMB", kind, None, with);
    let study = snomed("71651007", "Mammography");
    chart.procedure(people, &visit, study.clone(), None);
    chart.imaging(people, &visit, "MG", study, "No sign of malignancy. BI-RADS 1. Next screening in two years.");
}
