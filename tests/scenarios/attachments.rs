//! Attachments too large for one document: sealed in parts, listed once, shown byte for byte, shared, withheld, filed and lost as one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    chart::{self, Names, set},
    world::{Home, World, files, until},
};

/// Bytes of a scan before base64: three parts of base64.
const SCAN: usize = 15 << 20;

/// Made-up bytes that no compressor makes shorter, in base64.
fn noise(seed: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = vec![0; SCAN];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    let mut text = String::with_capacity(SCAN.div_ceil(3) * 4);
    for three in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        text.extend([18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift & 63) as usize])));
    }
    text
}

/// A scanned page, of this sensitivity by its source's word. White space and escapes are its own.
fn scan(id: &str, security: &str) -> Vec<u8> {
    let label = format!(r#"{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"{security}"}}"#);
    let security = if security.is_empty() { String::new() } else { format!(r#" "meta" : {{"security":[{label}]}},"#) };
    format!("{{ \"resourceType\":\"Binary\",\n\t\"id\":\"{id}\",{security} \"contentType\":\"application\\/pdf\", \"data\" :\"{}\" }}", noise(id)).into_bytes()
}

/// A note that shows the scan.
fn note(scan: &str) -> String {
    let rest =
        format!(r#""status":"current","date":"2024-03-01T10:00:00Z","content":[{{"attachment":{{"contentType":"application/pdf","url":"Binary/{scan}"}}}}]"#);
    chart::resource(&format!("DocumentReference/about-{scan}"), &rest)
}

/// A Bundle of a scan and a note about it.
fn bundle(scan: &[u8], id: &str) -> Vec<u8> {
    let (before, between, after) = (r#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":"#, r#"},{"resource":"#, "}]}");
    [before.as_bytes(), scan, between.as_bytes(), note(id).as_bytes(), after.as_bytes()].concat()
}

/// The record of that id, which must be listed once.
fn record(home: &Home, id: &str) -> Value {
    let mut found: Vec<Value> = home.records().into_iter().filter(|record| record["id"] == id).collect();
    assert_eq!(found.len(), 1, "{id}: {found:?}");
    found.remove(0)
}

/// The hashes of a record's parts, in order.
fn parts(record: &Value) -> Vec<String> {
    let parts: Vec<String> = record["parts"].as_array().expect("it is in parts").iter().filter_map(|part| part.as_str().map(str::to_owned)).collect();
    assert_eq!(record["document"], parts[0].as_str());
    parts
}

fn all(parts: &[String]) -> BTreeSet<String> {
    parts.iter().cloned().collect()
}

fn assert_shows(home: &Home, reference: &str, bytes: &[u8]) {
    assert!(home.ok(&["records", "show", reference]).stdout == bytes, "{reference} differs from its source");
}

#[test]
fn an_attachment_is_one_record_in_several_documents() {
    let world = World::new();
    let (patient, clinic, surgery) = (world.home("patient", "maria"), world.home("organization", "clinic"), world.home("practitioner", "surgery"));
    let (open, kept) = (scan("xray", ""), scan("clinic-letter", "HIV"));
    let (first, second) = (world.write("xray.json", &bundle(&open, "xray")), world.write("letter.json", &kept));
    let info = patient.json(&["import", &first]);
    assert_eq!((info["published"].as_u64(), info["documents"].as_u64(), info["marked"].as_u64()), (Some(2), Some(4), Some(0)), "{info}");
    assert_eq!(patient.json(&["import", &second])["documents"], 3);
    let again = patient.json(&["import", &first, &second]);
    assert_eq!((again["published"].as_u64(), again["unchanged"].as_u64()), (Some(0), Some(3)), "{again}");
    assert_eq!(patient.records().len(), 3);
    assert_shows(&patient, "Binary/xray", &open);
    assert_shows(&patient, "Binary/clinic-letter", &kept);
    let (written, count) = chart::exported(&world, &patient, "own");
    assert_eq!((count, written), (3, BTreeSet::from([open.clone(), kept.clone(), note("xray").into_bytes()])));

    // Each part is an age file of its own, and the parts one after the other are the resource.
    let (xray, letter) = (record(&patient, "xray"), record(&patient, "clinic-letter"));
    assert_eq!(letter["sensitivity"], "hiv");
    let keys = chart::identities(&world, &patient);
    let mut joined = Vec::new();
    for part in parts(&xray) {
        let sealed = chart::sealed(&world, &patient, &BTreeSet::from([part.clone()])).remove(&part).expect("it is there");
        let opened = keys.iter().find_map(|key| chartmesh_sealing::open(&sealed, key).ok()).expect("it opens");
        // As stock zstd does, it steps over the frames around the content.
        joined.extend(zstd::decode_all(opened.as_slice()).expect("zstd frames"));
    }
    assert!(joined == open, "the parts make up the resource");

    // One party reads all but what is about HIV, another one record alone.
    let (serving_clinic, serving_surgery) = (clinic.serve(), surgery.serve());
    patient.meets(&clinic);
    patient.meets(&surgery);
    patient.grants("clinic", &["--except", "hiv"]);
    let preview = patient.json(&["consent", "preview", "surgery", "--read", "Binary/xray"]);
    assert_eq!((preview["readable"].as_u64(), preview["closed"].as_u64()), (Some(1), Some(2)), "{preview}");
    let grant = patient.grants("surgery", &["--read", "Binary/xray"]);
    assert_eq!(patient.json(&["consent", "show", &grant])["readable"], 1);
    patient.json(&["sync", "--timeout", "60s"]);
    until("the clinic has what was shared", || chart::readable(&clinic) == set(["Binary/xray", "DocumentReference/about-xray"]));
    until("the surgery has the one record", || chart::readable(&surgery) == set(["Binary/xray"]));
    for home in [&clinic, &surgery] {
        assert_eq!(parts(&record(home, "xray")), parts(&xray));
        assert_shows(home, "Binary/xray", &open);
        home.fails(1, &["records", "show", "Binary/clinic-letter"]);
        assert_eq!(chart::stored(home, &all(&parts(&letter))), Vec::<String>::new());
        let sealed = chart::sealed(&world, &patient, &all(&parts(&letter)));
        assert_eq!((sealed.len(), chart::opened_by(&chart::identities(&world, home), &sealed).len()), (3, 0));
    }
    let sealed = chart::sealed(&world, &patient, &all(&parts(&xray)));
    assert!(chart::opened_by(&chart::identities(&world, &surgery), &sealed).is_empty(), "no compartment's key was handed over");
    // Shown once, it is one line of the audit; so is an export of all.
    assert_eq!(chart::exported(&world, &surgery, "surgery-export"), (BTreeSet::from([open.clone()]), 1));
    patient.json(&["sync", "--timeout", "60s"]);
    let audit = patient.json(&["audit"]);
    let read: Vec<(&Value, &Value)> = audit.as_array().expect("an array").iter().map(|line| (&line["party"], &line["what"])).collect();
    let line = |party: &str| (Value::from(party), Value::from(vec!["Binary/xray"]));
    let wanted = [line("clinic"), line("surgery"), line("surgery")];
    assert_eq!(read.len(), 3, "{audit}");
    assert!(wanted.iter().all(|(party, what)| read.contains(&(party, what))), "{audit}");
    serving_surgery.stop();

    // A part that a power cut took away locks the record, and comes back.
    serving_clinic.kill();
    let lost = parts(&xray).remove(1);
    for file in
        files(&clinic.path().join("blobs")).iter().filter(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&lost)))
    {
        std::fs::remove_file(file).expect("removing a blob");
    }
    let locked = record(&clinic, "xray");
    assert_eq!((&locked["state"], parts(&locked)), (&"locked".into(), parts(&xray)));
    assert!(clinic.fails(1, &["records", "show", "Binary/xray"]).contains("chartmesh sync"));
    assert_eq!(chart::exported(&world, &clinic, "without-the-lost").0, BTreeSet::from([note("xray").into_bytes()]));
    let serving = patient.serve();
    clinic.json(&["peer", "add", &patient.ticket(), "--alias", "maria"]);
    until("the lost part is back", || {
        clinic.run(&["sync", "--timeout", "60s"]);
        record(&clinic, "xray")["state"] == "readable"
    });
    assert_shows(&clinic, "Binary/xray", &open);
    serving.stop();
}

#[test]
fn an_attachment_from_others_is_filed_whole() {
    let world = World::new();
    let (patient, custodian, laboratory) = (chart::patient(&world, "maria"), world.home("custodian", "vaultco"), world.home("organization", "laboratory"));
    let before = patient.records().len();
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    let serving = laboratory.serve();
    patient.meets(&laboratory);
    patient.grants("laboratory", &["--write"]);
    patient.json(&["sync", "--timeout", "60s"]);
    serving.stop();

    // The patient is away.
    let (report, bytes) = ("genome", scan("genome", "HIV"));
    let file = world.write("genome.json", &bytes);
    let info = laboratory.json(&["import", &file, "--for", "maria"]);
    assert_eq!((info["published"].as_u64(), info["documents"].as_u64()), (Some(1), Some(3)), "{info}");
    assert_eq!(laboratory.json(&["import", &file, "--for", "maria"])["unchanged"], 1);
    laboratory.json(&["sync", "--timeout", "60s"]);
    laboratory.fails(1, &["records", "show", "Binary/genome"]);
    let delivered: BTreeSet<String> =
        custodian.json(&["records", "list"]).as_array().expect("an array").iter().filter_map(|record| record["document"].as_str().map(str::to_owned)).collect();

    // Back again: the parts lie in the inbox, and are filed under one label.
    until("the patient has it", || {
        patient.json(&["sync", "--timeout", "60s"]);
        chart::readable(&patient).contains("Binary/genome")
    });
    assert_eq!(patient.records().len(), before + 1);
    let filed = record(&patient, report);
    assert_eq!((&filed["sensitivity"], &filed["author"], &filed["state"]), (&"hiv".into(), &"laboratory".into(), &"readable".into()), "{filed}");
    assert_shows(&patient, "Binary/genome", &bytes);
    let filed = parts(&filed);
    assert_eq!(filed.len(), 3);
    assert!(filed.iter().all(|part| !delivered.contains(part)), "they were sealed anew");
    let names: Names = chart::names(&patient.records(), |record| record["id"] == report);
    assert_eq!(names, set(["Binary/genome"]));
    // The custodian keeps the new parts, and nothing of the old ones.
    until("the custodian has the parts as they are filed", || {
        patient.json(&["sync", "--timeout", "60s"]);
        let stored = |part: &String| !chart::stored(&custodian, &BTreeSet::from([part.clone()])).is_empty();
        filed.iter().all(stored)
    });
    keeping.stop();
    let held: BTreeSet<String> =
        custodian.json(&["records", "list"]).as_array().expect("an array").iter().filter_map(|record| record["document"].as_str().map(str::to_owned)).collect();
    let gone: BTreeSet<String> = delivered.difference(&held).cloned().collect();
    assert_eq!(gone.len(), 3, "what lay in the inbox was withdrawn");
    assert_eq!(chart::stored(&custodian, &gone), Vec::<String>::new());
    for home in [&patient, &custodian, &laboratory] {
        assert_eq!(home.json(&["ledger", "verify"])["ok"], true);
    }
}
