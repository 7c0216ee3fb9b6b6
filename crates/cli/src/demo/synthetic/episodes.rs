//! The guarded part of the story. Each episode has what gives its secret away: the visit and its reason, the condition, the
//! medicine for it, the panel and its members, the plan, the note, the claim. The codes are those of `schemas/labels`.

use super::chart::{Chart, Visit, diagnosis, loinc, rxnorm, snomed};
use super::people::People;
use serde_json::{Value, json};

pub(super) fn guarded_care(chart: &mut Chart, people: &People) {
    contraception(chart, people);
    hiv_screening(chart, people);
    gene_test(chart, people);
    partner_violence(chart, people);
    depression(chart, people);
    alcohol(chart, people);
}

fn progress_note() -> Value {
    loinc("34108-1", "Outpatient Note")
}

/// Sexual and reproductive health, 2014 and 2019.
fn contraception(chart: &mut Chart, people: &People) {
    let with = (people.gynecologist.as_str(), people.practice.as_str());
    let care = || snomed("389095005", "Contraception care");
    let visit = chart.encounter(people, "2014-09-16", "AMB", care(), None, with);
    let code = diagnosis("13197004", "Z30.011", "Contraception");
    let wish = chart.condition(people, &visit, code, "resolved", Some("2019-09-17"));
    let pill = rxnorm("748879", "Levora 0.15/30 28 Day Pack");
    chart.prescription(people, &visit, pill, "stopped", &wish, "One tablet daily");
    let test = loinc("21613-5", "Chlamydia trachomatis DNA [Presence] by NAA");
    let result = chart.finding(people, &visit, "laboratory", test.clone(), not_detected());
    chart.report(people, &visit, test, &[result], "Chlamydia trachomatis not detected.");

    let visit = chart.encounter(people, "2019-09-17", "AMB", care(), None, with);
    let device = snomed("65200003", "Insertion of intrauterine contraceptive device");
    chart.procedure(people, &visit, device.clone(), None);
    let smear = loinc("10524-7", "Cytology study of cervical or vaginal smear");
    let finding = json!({"text": "Negative for intraepithelial lesion or malignancy"});
    let result = chart.finding(people, &visit, "laboratory", smear.clone(), finding);
    chart.report(people, &visit, smear, &[result], "Negative. Repeat in three years.");
    let text = "Wishes to stop the pill. Levonorgestrel device placed without difficulty. Strings seen.";
    chart.note(people, &visit, progress_note(), "Gynecology visit, September 2019", text);
    chart.claim(people, &visit, device, None, 420);
}

fn not_detected() -> Value {
    snomed("260415000", "Not detected")
}

/// HIV, 2015: a screening with a negative result.
fn hiv_screening(chart: &mut Chart, people: &People) {
    let kind = snomed("171121004", "HIV screening");
    let reason = diagnosis("171121004", "Z11.4", "HIV screening");
    let with = (people.gp.as_str(), people.practice.as_str());
    let visit = chart.encounter(people, "2015-05-12", "AMB", kind, Some(reason), with);
    let test = loinc("56888-1", "HIV 1+2 Ab+HIV1 p24 Ag [Presence] in Serum or Plasma by Immunoassay");
    let result = chart.finding(people, &visit, "laboratory", test.clone(), not_detected());
    chart.report(people, &visit, test, &[result], "Nonreactive. No evidence of HIV infection.");
}

/// Genetics, 2018: breast cancer in the family, a test of BRCA1.
fn gene_test(chart: &mut Chart, people: &People) {
    chart.add(
        "FamilyMemberHistory",
        json!({
            "status": "completed",
            "patient": {"reference": people.patient},
            "date": "2018-06-05",
            "relationship": {"coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
                "code": "MAUNT",
                "display": "maternal aunt",
            }]},
            "condition": [{"code": snomed("254837009", "Malignant tumor of breast")}],
        }),
    );
    let kind = snomed("79841006", "Genetic counseling");
    let with = (people.geneticist.as_str(), people.hospital.as_str());
    let visit = chart.encounter(people, "2018-06-05", "AMB", kind, None, with);
    let test = loinc("21636-6", "BRCA1 gene mutations found [Identifier] in Blood or Tissue");
    let value = json!({"text": "No pathogenic variant found"});
    let result = chart.finding(people, &visit, "laboratory", test, value);
    let code = loinc("51969-4", "Genetic analysis report");
    chart.report(people, &visit, code, &[result], "BRCA1: no pathogenic or likely pathogenic variant.");
    let text = "Aunt with breast cancer at 39. Pedigree taken, options discussed, BRCA1 test wished. \
                Result negative; screening as for the general population.";
    chart.note(people, &visit, loinc("11488-4", "Consult note"), "Genetic counseling, June 2018", text);
}

/// Violence, 2019 and 2020: the HARK questions, and what they brought to light.
fn partner_violence(chart: &mut Chart, people: &People) {
    let kind = || snomed("866148006", "Screening for domestic abuse");
    let with = (people.gp.as_str(), people.practice.as_str());
    let visit = chart.encounter(people, "2019-04-02", "AMB", kind(), None, with);
    hark(chart, people, &visit, 2);
    let code = diagnosis("706893006", "T74.31XA", "Victim of intimate partner abuse");
    chart.condition(people, &visit, code, "resolved", Some("2020-06-30"));
    let text = "Afraid of her partner, humiliated repeatedly, no injury. Safety plan made, helpline number given. \
                She asks that nobody at her address be called or written to.";
    chart.note(people, &visit, progress_note(), "Confidential conversation, April 2019", text);

    let visit = chart.encounter(people, "2020-06-30", "AMB", kind(), None, with);
    hark(chart, people, &visit, 0);
}

fn hark(chart: &mut Chart, people: &People, visit: &Visit, points: u32) {
    let afraid = loinc("76501-6", "Within the last year, have you been afraid of your partner or ex-partner");
    let answer = if points > 0 { snomed("373066001", "Yes") } else { snomed("373067005", "No") };
    let answer = chart.finding(people, visit, "survey", afraid, answer);
    let total = chart.score(people, visit, loinc("76504-0", "Total score [HARK]"), points);
    let code = loinc("76499-3", "Humiliation, Afraid, Rape, and Kick questionnaire [HARK]");
    let conclusion = if points > 0 { "Positive screening." } else { "Negative screening." };
    chart.report(people, visit, code, &[answer, total], conclusion);
}

/// Mental health, 2019 and 2020: a depressive episode from the first visit to its end.
fn depression(chart: &mut Chart, people: &People) {
    let with = (people.psychiatrist.as_str(), people.behavioral.as_str());
    let reason = || diagnosis("370143000", "F32.1", "Major depressive disorder");
    let consultation = || snomed("11429006", "Consultation");
    let first = chart.encounter(people, "2019-10-08", "AMB", consultation(), Some(reason()), with);
    let episode = chart.condition(people, &first, reason(), "resolved", Some("2020-12-15"));
    let sertraline = rxnorm("312941", "sertraline 50 MG Oral Tablet");
    chart.prescription(people, &first, sertraline, "completed", &episode, "One tablet each morning");
    let therapy = snomed("75516001", "Psychotherapy");
    let screening = snomed("715252007", "Depression screening using PHQ-9");
    let activities = [therapy.clone(), screening];
    let category = snomed("734163000", "Care plan");
    chart.plan(people, &first, category, &episode, &activities, false);
    chart.claim(people, &first, therapy.clone(), Some(&episode), 310);
    chart.score(people, &first, loinc("70274-6", "Generalized anxiety disorder 7 item (GAD-7) total score"), 9);
    mood(chart, people, &first, 16, "Moderately severe depression.");
    let note = Chart::note_resource(
        people,
        &first,
        loinc("34788-0", "Psychiatry Consult note"),
        "Psychiatric consultation, October 2019",
        "Low mood and early waking since spring, after months of fear at home. No suicidal intent. Moderate depressive \
         episode. Sertraline 50 mg, weekly psychotherapy, see again in six weeks.",
    );
    add_psychotherapy_note(chart, note);

    let follow_ups = [
        ("2019-11-19", 11, "Moderate depression, improving."),
        ("2020-02-11", 7, "Mild depression."),
        ("2020-06-09", 4, "Minimal symptoms."),
        ("2020-12-15", 3, "In remission, sertraline tapered."),
    ];
    for (date, points, conclusion) in follow_ups {
        let visit = chart.encounter(people, date, "AMB", consultation(), Some(reason()), with);
        chart.procedure(people, &visit, therapy.clone(), Some(&episode));
        mood(chart, people, &visit, points, conclusion);
        chart.blood_pressure(people, &visit, 124, 80);
    }
}

fn mood(chart: &mut Chart, people: &People, visit: &Visit, points: u32, conclusion: &str) {
    let total = loinc("44261-6", "Patient Health Questionnaire 9 item (PHQ-9) total score");
    let total = chart.score(people, visit, total, points);
    chart.report(people, visit, loinc("44249-1", "PHQ-9 quick depression assessment panel"), &[total], conclusion);
}

/// The one resource that its source has labelled: restricted, psychotherapy note (THO v3-Confidentiality, v3-ActCode).
fn add_psychotherapy_note(chart: &mut Chart, mut note: Value) {
    let system = |name: &str| format!("http://terminology.hl7.org/CodeSystem/{name}");
    note["meta"] = json!({"security": [
        {"system": system("v3-Confidentiality"), "code": "R", "display": "restricted"},
        {"system": system("v3-ActCode"), "code": "PSYTHPN", "display": "psychotherapy note information sensitivity"},
    ]});
    chart.add("DocumentReference", note);
}

/// Substance use, 2021 to 2024: alcohol, naltrexone, and remission.
fn alcohol(chart: &mut Chart, people: &People) {
    let with = (people.psychiatrist.as_str(), people.behavioral.as_str());
    let reason = || diagnosis("66590003", "F10.20", "Alcohol dependence");
    let counseling = || snomed("24165007", "Alcoholism counseling");
    let first = chart.encounter(people, "2021-04-13", "AMB", counseling(), Some(reason()), with);
    let code = diagnosis("66590003", "F10.21", "Alcohol dependence");
    let disorder = chart.condition(people, &first, code, "remission", None);
    drinking(chart, people, &first, 9, "High risk.");
    chart.score(people, &first, loinc("82667-7", "Total score [DAST-10]"), 0);
    let naltrexone = rxnorm("1483744", "naltrexone hydrochloride 50 MG Oral Tablet");
    chart.prescription(people, &first, naltrexone, "completed", &disorder, "One tablet daily for one year");
    let category = snomed("734163000", "Care plan");
    chart.plan(people, &first, category, &disorder, &[counseling()], true);
    chart.claim(people, &first, counseling(), Some(&disorder), 260);
    let text = "Half a bottle of wine on most evenings since 2020. No withdrawal. Wants to stop. Naltrexone 50 mg after \
                liver tests, counseling every two weeks.";
    chart.note(people, &first, progress_note(), "Alcohol counseling, April 2021", text);

    for (date, points, conclusion) in [
        ("2021-07-06", 5, "Drinking less."),
        ("2022-04-12", 1, "Abstinent on most days, naltrexone ended."),
        ("2024-04-09", 0, "Abstinent, sustained remission."),
    ] {
        let visit = chart.encounter(people, date, "AMB", counseling(), Some(reason()), with);
        drinking(chart, people, &visit, points, conclusion);
    }
}

fn drinking(chart: &mut Chart, people: &People, visit: &Visit, points: u32, conclusion: &str) {
    let total = chart.score(people, visit, loinc("75626-2", "Total score [AUDIT-C]"), points);
    let code = loinc("72109-2", "Alcohol Use Disorder Identification Test - Consumption [AUDIT-C]");
    chart.report(people, visit, code, &[total], conclusion);
}
