//! What the benchmarks work on: Synthea patients from `CHARTMESH_DATA`, else made-up ones.

use std::path::{Path, PathBuf};

/// Files with one patient each, and what they are.
pub(crate) fn files(directory: &Path) -> (&'static str, Vec<PathBuf>) {
    let Some(data) = std::env::var_os("CHARTMESH_DATA") else { return ("made-up patients", (0..8).map(|index| made_up(directory, index)).collect()) };
    let most = std::env::var("CHARTMESH_PATIENTS").ok().and_then(|most| most.parse().ok()).unwrap_or(12);
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(&data).join("synthea"))
        .expect("CHARTMESH_DATA/synthea")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| !path.to_string_lossy().contains("Information"))
        .collect();
    files.sort();
    files.truncate(most);
    ("Synthea patients", files)
}

/// A patient with 1,200 results in 60 encounters.
fn made_up(directory: &Path, index: usize) -> PathBuf {
    let mut entries = vec![format!(r#"{{"fullUrl":"urn:uuid:p{index}","resource":{{"resourceType":"Patient","id":"p{index}"}}}}"#)];
    for encounter in 0..60 {
        let month = 1 + encounter % 12;
        entries.push(format!(
            r#"{{"resource":{{"resourceType":"Encounter","id":"e{index}-{encounter}","status":"finished","class":{{"system":"http://terminology.hl7.org/CodeSystem/v3-ActCode","code":"AMB"}},"subject":{{"reference":"Patient/p{index}"}},"period":{{"start":"2024-{month:02}-01T09:00:00Z"}}}}}}"#
        ));
        for result in 0..20 {
            entries.push(format!(
                r#"{{"resource":{{"resourceType":"Observation","id":"o{index}-{encounter}-{result}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"4548-4","display":"Hemoglobin A1c/Hemoglobin.total in Blood"}}],"text":"HbA1c"}},"subject":{{"reference":"Patient/p{index}"}},"encounter":{{"reference":"Encounter/e{index}-{encounter}"}},"effectiveDateTime":"2024-{month:02}-01T09:{result:02}:00Z","valueQuantity":{{"value":{}.{result},"unit":"%","system":"http://unitsofmeasure.org","code":"%"}}}}}}"#,
                5 + encounter % 4
            ));
        }
    }
    let path = directory.join(format!("patient-{index}.json"));
    std::fs::write(&path, format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{}]}}"#, entries.join(","))).expect("a file");
    path
}
