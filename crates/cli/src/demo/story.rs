//! What happens in the demonstration, and what must come of it. Every claim is put to the node that it is about.

use std::collections::BTreeSet;

use chartmesh_node::api::{AuditInfo, GrantInfo, LogInfo, PreviewInfo, RecordInfo, Request, TermsInput, VerifyInfo};

use super::{
    stage::{Actor, Stage, readable, reference},
    synthetic,
    teller::{Reader, Slip, Teller, claim},
};

/// What the patient keeps from the clinic.
const EXCEPTION: &str = "mental-health";
/// Least resources that make the made-up patient's chart worth its name.
const CHART: u64 = 300;

/// What the acts hand on to one another.
struct Chart {
    /// What the patient can read.
    own: BTreeSet<String>,
    /// What the exception keeps from the clinic.
    kept: BTreeSet<String>,
    /// What the clinic could read under its grant.
    shared: BTreeSet<String>,
    /// What it has read.
    opened: BTreeSet<String>,
    /// The clinic's grant.
    grant: String,
}

/// Plays it to the end, or to the first thing that does not come out as told.
pub(crate) async fn play(stage: &mut Stage, teller: &mut Teller) -> Result<(), Slip> {
    teller.say("A patient, a hospital, a clinic and a storage provider, on this machine. The patient is made up.\n\n").map_err(Slip::Output)?;
    set_up(stage, teller).await?;
    let mut chart = share(stage, teller).await?;
    read(stage, teller, &mut chart).await?;
    go_offline(stage, teller, &mut chart).await?;
    let after = withdraw(stage, teller, &chart).await?;
    look_back(stage, teller, &chart).await?;
    conclude(stage, teller, &chart, &after).await
}

async fn set_up(stage: &mut Stage, teller: &mut Teller) -> Result<(), Slip> {
    teller
        .step("Four nodes start and exchange contact cards", async {
            stage.set_up().await?;
            stage.introduce().await?;
            Ok(((), "The patient knows all three; they do not know of one another.".to_owned()))
        })
        .await?;
    let stage = &*stage;
    teller
        .step("The patient imports her chart: read, sealed, published", async {
            let file = stage.deliver("chart.json", &synthetic::synthetic_patient())?;
            let info = stage.patient.import(file, None).await?;
            claim(info.refused.is_empty() && info.published >= CHART, || format!("{} published, {} refused", info.published, info.refused.len()))?;
            let held = readable(&stage.patient.records().await?);
            let opened = stage.open_everything(&stage.patient, "opened-by-patient").await?;
            claim(held == opened && held.len() as u64 >= CHART, || format!("she lists {} records and can open {}", held.len(), opened.len()))?;
            Ok((
                (),
                format!(
                    "{} records in {} sealed documents, kept apart in {} compartments. She can open all of them.",
                    held.len(),
                    info.documents,
                    info.compartments.len()
                ),
            ))
        })
        .await
}

async fn grant(stage: &Stage, to: &Actor, terms: TermsInput) -> Result<GrantInfo, Slip> {
    Ok(stage.patient.ask(Request::ConsentGrant { peer: to.alias.to_owned(), terms }).await?)
}

async fn share(stage: &Stage, teller: &mut Teller) -> Result<Chart, Slip> {
    teller
        .step("A storage provider keeps a sealed copy", async {
            grant(stage, &stage.custodian, TermsInput { custodian: true, ..TermsInput::default() }).await?;
            let published = documents(&stage.patient.records().await?);
            let there = stage.custodian.comes_about(|records| documents(records).is_superset(&published)).await?;
            claim(there, || "its copy is not complete".to_owned())?;
            let records = stage.custodian.records().await?;
            claim(readable(&records).is_empty() && records.iter().all(|record| record.title.is_none()), || "it can read some of them".to_owned())?;
            Ok(((), format!("It holds {} documents and can open none of them.", published.len())))
        })
        .await?;
    teller
        .step("The hospital may add results", async {
            let info = grant(stage, &stage.hospital, TermsInput { write: true, ..TermsInput::default() }).await?;
            claim(info.write && info.readable == 0, || format!("it may read {} records", info.readable))?;
            stage.hospital.sync().await?;
            Ok(((), "It may write, and read nothing.".to_owned()))
        })
        .await?;
    teller
        .step("The clinic may read, except for mental health", async {
            let terms = TermsInput { read: vec!["all".into()], except: vec![EXCEPTION.into()], ..TermsInput::default() };
            let preview: PreviewInfo = stage.patient.ask(Request::ConsentPreview { peer: stage.clinic.alias.to_owned(), terms: terms.clone() }).await?;
            let info = grant(stage, &stage.clinic, terms).await?;
            claim(preview.closed > 0 && info.readable == preview.readable, || {
                format!("the preview said {} records and {} closed, the grant opens {}", preview.readable, preview.closed, info.readable)
            })?;
            let records = stage.patient.records().await?;
            let kept = records.iter().filter(|record| record.sensitivity.as_deref() == Some(EXCEPTION)).filter_map(reference).collect();
            let own = readable(&records);
            let said = format!("A preview showed it first: {} records open, {} stay closed.", preview.readable, preview.closed);
            Ok((Chart { own, kept, shared: BTreeSet::new(), opened: BTreeSet::new(), grant: info.grant.to_string() }, said))
        })
        .await
}

async fn read(stage: &Stage, teller: &mut Teller, chart: &mut Chart) -> Result<(), Slip> {
    let expected: BTreeSet<_> = chart.own.difference(&chart.kept).cloned().collect();
    teller
        .step("What was shared travels to the clinic", async {
            let there = stage.clinic.comes_about(|records| readable(records) == expected).await?;
            let held = readable(&stage.clinic.records().await?);
            claim(there, || format!("it lists {} records where it should list {}", held.len(), expected.len()))?;
            Ok(((), format!("{} records have arrived.", held.len())))
        })
        .await?;
    chart.opened = teller
        .step("The clinic reads", async {
            let opened = stage.open_everything(&stage.clinic, "opened-by-clinic").await?;
            claim(opened == expected, || format!("it opens {} records where it should open {}", opened.len(), expected.len()))?;
            let one = first(&expected, "Observation/")?;
            let same = stage.clinic.show(one).await? == stage.patient.show(one).await?;
            claim(same, || format!("{one} differs from what the patient has"))?;
            let said = format!("It opens {} records; one was compared with the patient's, byte for byte.", opened.len());
            Ok((opened, said))
        })
        .await?;
    teller
        .step("What the patient excepted stays locked", async {
            for kept in &chart.kept {
                claim(stage.clinic.show(kept).await.is_err(), || format!("the clinic can open {kept}"))?;
            }
            claim(!chart.kept.is_empty(), || "there is nothing that is excepted".to_owned())?;
            Ok(((), format!("The clinic's node was asked for each of the {} records on mental health and opened none.", chart.kept.len())))
        })
        .await
}

async fn go_offline(stage: &mut Stage, teller: &mut Teller, chart: &mut Chart) -> Result<(), Slip> {
    teller
        .step("The patient switches her device off", async {
            stage.patient.leave().await?;
            Ok(((), "From here on only the others are there.".to_owned()))
        })
        .await?;
    let before = readable(&stage.clinic.records().await?);
    let fresh = teller
        .step("The hospital adds a laboratory result meanwhile", async {
            let result = synthetic::new_result(7);
            let file = stage.deliver("result.json", &result)?;
            let info = stage.hospital.import(file, Some(stage.patient.alias)).await?;
            claim(info.refused.is_empty() && info.published > 0, || format!("{} published, {} refused", info.published, info.refused.len()))?;
            // The report may arrive before the value that it tells of.
            let fresh: BTreeSet<_> = names(&result).difference(&before).cloned().collect();
            let there = stage.clinic.comes_about(|records| readable(records).is_superset(&fresh)).await?;
            claim(there, || "it has not reached the clinic".to_owned())?;
            let one = first(&fresh, "Observation/")?;
            stage.clinic.show(one).await?;
            chart.opened.insert(one.to_owned());
            Ok((fresh, "The clinic has it already, by way of the storage provider, and opens it.".to_owned()))
        })
        .await?;
    teller
        .step("The patient comes back and finds it", async {
            stage.patient.come().await?;
            let there = stage.patient.comes_about(|records| readable(records).is_superset(&fresh)).await?;
            claim(there, || "it has not reached her".to_owned())?;
            let one = first(&fresh, "Observation/")?;
            let same = stage.clinic.show(one).await? == stage.patient.show(one).await?;
            claim(same, || format!("{one} differs from what the clinic has"))?;
            Ok(((), "Hers and the clinic's are the same, byte for byte.".to_owned()))
        })
        .await?;
    chart.own = readable(&stage.patient.records().await?);
    chart.shared = before.union(&fresh).cloned().collect();
    Ok(())
}

async fn epochs(stage: &Stage) -> Result<usize, Slip> {
    let log: Vec<LogInfo> = stage.patient.ask(Request::LedgerLog { patient: None }).await?;
    Ok(log.iter().filter(|entry| entry.action.contains("epoch")).count())
}

async fn withdraw(stage: &Stage, teller: &mut Teller, chart: &Chart) -> Result<BTreeSet<String>, Slip> {
    teller
        .step("The patient ends the clinic's consent", async {
            let before = epochs(stage).await?;
            let info: GrantInfo = stage.patient.ask(Request::ConsentRevoke { grant: chart.grant.clone(), reason: Some("I have moved.".to_owned()) }).await?;
            claim(info.state == "revoked", || format!("the grant is {}", info.state))?;
            let renewed = epochs(stage).await?.saturating_sub(before);
            claim(renewed > 0, || "no key was changed".to_owned())?;
            stage.patient.sync().await?;
            Ok(((), format!("At once the keys of {renewed} compartments are changed; the clinic does not get the new ones.")))
        })
        .await?;
    let fresh = teller
        .step("Later the patient is seen again, and her chart grows", async {
            let file = stage.deliver("visit.json", &synthetic::later_visit())?;
            let info = stage.patient.import(file, None).await?;
            claim(info.refused.is_empty() && info.published > 0, || format!("{} published, {} refused", info.published, info.refused.len()))?;
            let records = stage.patient.records().await?;
            let fresh: BTreeSet<_> = readable(&records).difference(&chart.own).cloned().collect();
            let published = documents(&records);
            let there = stage.custodian.comes_about(|records| documents(records).is_superset(&published)).await?;
            claim(there && !fresh.is_empty(), || "the storage provider does not have it".to_owned())?;
            let count = fresh.len();
            Ok((fresh, format!("{count} new records, sealed under the new keys; the storage provider has them.")))
        })
        .await?;
    teller
        .step("The clinic cannot open what comes after", async {
            stage.clinic.sync().await?;
            for reference in &fresh {
                claim(stage.clinic.show(reference).await.is_err(), || format!("the clinic can open {reference}"))?;
            }
            let held = readable(&stage.clinic.records().await?);
            claim(held.is_disjoint(&fresh), || "the clinic lists new records as readable".to_owned())?;
            Ok(((), format!("Its node was asked for each of the {} new records and opened none.", fresh.len())))
        })
        .await?;
    teller
        .step("What it has read before it still knows", async {
            let one = first(&chart.shared, "Observation/")?;
            stage.clinic.show(one).await?;
            Ok(((), "Nobody can take that back. It opened an old record once more; the patient will see it.".to_owned()))
        })
        .await?;
    Ok(fresh)
}

async fn look_back(stage: &Stage, teller: &mut Teller, chart: &Chart) -> Result<(), Slip> {
    teller
        .step("The patient sees who looked", async {
            let mut audit: Vec<AuditInfo> = Vec::new();
            for _ in 0..20 {
                stage.clinic.sync().await?;
                stage.patient.sync().await?;
                audit = stage.patient.ask(Request::Audit { patient: None }).await?;
                if audit.iter().any(|access| access.after_withdrawal) {
                    break;
                }
            }
            let by_clinic: Vec<_> = audit.iter().filter(|access| access.party == stage.clinic.name).collect();
            let seen: BTreeSet<_> = by_clinic.iter().flat_map(|access| access.what.iter().cloned()).collect();
            let late = by_clinic.iter().filter(|access| access.after_withdrawal).count();
            claim(seen == chart.opened, || format!("she sees {} records, the clinic opened {}", seen.len(), chart.opened.len()))?;
            claim(late > 0, || "the access after the end of the consent is not marked".to_owned())?;
            let said =
                format!("{} accesses by the clinic, {} records; {late} of them after the end of the consent, and marked so.", by_clinic.len(), seen.len());
            Ok(((), said))
        })
        .await?;
    teller
        .step("The ledger verifies, wherever it is held", async {
            let mut entries = 0;
            for actor in stage.everybody() {
                let info: VerifyInfo = actor.ask(Request::LedgerVerify).await?;
                claim(info.ok && info.ledgers == 1, || {
                    format!("on the node of the {}: {} problems, {} forks", actor.alias, info.problems.len(), info.forks.len())
                })?;
                if actor.alias == stage.patient.alias {
                    entries = info.entries;
                }
            }
            Ok(((), format!("Every signature and every rule was checked on all four nodes; the patient's has {entries} entries.")))
        })
        .await
}

async fn conclude(stage: &Stage, teller: &mut Teller, chart: &Chart, after: &BTreeSet<String>) -> Result<(), Slip> {
    let total = chart.own.union(after).count() as u64;
    let readers = teller
        .step("Everybody's records are counted", async {
            let parts = [
                ("patient", "they are hers"),
                ("hospital", "may add records, and read none"),
                ("clinic", "until the consent ended, and not mental health"),
                ("storage", "keeps them sealed and has no key"),
            ];
            let mut readers = Vec::new();
            for (actor, (part, because)) in stage.everybody().into_iter().zip(parts) {
                let readable = readable(&actor.records().await?).len() as u64;
                readers.push(Reader { name: actor.name.to_owned(), part: part.to_owned(), readable, because: because.to_owned() });
            }
            let counts: Vec<_> = readers.iter().map(|reader| reader.readable).collect();
            let shared = chart.shared.len() as u64;
            let as_told = matches!(*counts, [patient, hospital, clinic, custodian] if patient == total && hospital == 0 && clinic == shared && custodian == 0);
            claim(as_told, || format!("they can read {counts:?} of {total}"))?;
            Ok((readers, "The table says who can read how much, and why.".to_owned()))
        })
        .await?;
    teller.conclude(total, readers);
    Ok(())
}

/// `Type/id` of what a Bundle of ours holds.
fn names(bundle: &[u8]) -> BTreeSet<String> {
    let bundle: serde_json::Value = serde_json::from_slice(bundle).unwrap_or_default();
    let resources = bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
    resources.filter_map(|resource| Some(format!("{}/{}", resource["resourceType"].as_str()?, resource["id"].as_str()?))).collect()
}

fn documents(records: &[RecordInfo]) -> BTreeSet<chartmesh_identity::BlobHash> {
    records.iter().map(|record| record.document).collect()
}

/// One of them, of this type.
fn first<'a>(references: &'a BTreeSet<String>, of_type: &str) -> Result<&'a str, Slip> {
    let found = references.iter().find(|reference| reference.starts_with(of_type));
    found.map(String::as_str).ok_or_else(|| Slip::Otherwise(format!("there is no {of_type}* among {} records", references.len())))
}
