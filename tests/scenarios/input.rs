//! Bad input: every way of being wrong ends with an exit code and a sentence that names the object and the reason, and leaves nothing half-written.

use serde_json::Value;

use crate::{
    chart::{self, CHART},
    schema,
    world::{Home, World},
};

/// What must not have changed.
fn state(home: &Home) -> (Vec<Value>, Value) {
    (home.records(), home.json(&["ledger", "log"]))
}

#[test]
fn files_that_are_no_records_are_refused_by_name() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let before = state(&patient);
    let good = chart::bundle(CHART);
    let deep = format!("{{\"resourceType\":\"Basic\",\"id\":\"deep\",\"extension\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    let long = format!("{{\"resourceType\":\"Basic\",\"id\":\"long\",\"text\":\"{}\"}}", "x".repeat(50 << 20));
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("empty.json".into(), Vec::new()),
        ("white.json".into(), b" \n\t".to_vec()),
        ("binary.json".into(), (0..=255).cycle().take(4096).collect()),
        ("text.json".into(), b"these are not records".to_vec()),
        ("null.json".into(), b"null".to_vec()),
        ("list.json".into(), b"[1,2,3]".to_vec()),
        ("untyped.json".into(), b"{\"id\":\"1\"}".to_vec()),
        ("deep.json".into(), deep.into_bytes()),
        ("objects.json".into(), objects.into_bytes()),
        ("long.json".into(), long.into_bytes()),
        ("twice.json".into(), br#"{"resourceType":"Observation","id":"twice","status":"final","status":"amended"}"#.to_vec()),
        ("latin1.json".into(), b"{\"resourceType\":\"Basic\",\"id\":\"l\",\"text\":\"\xe9\"}".to_vec()),
        ("nul.json".into(), b"{\"resourceType\":\"Basic\",\"id\":\"nul\"}\0".to_vec()),
    ];
    files.extend([1, 2, 3, 10, 40, 97].map(|part| (format!("cut-{part}.json"), good[..good.len() * part / 100].to_vec())));
    for (name, bytes) in files {
        let file = world.write(&name, &bytes);
        let ran = patient.run(&["import", &file]);
        assert_eq!(ran.code, 1, "{name}: {} {}", ran.text(), ran.stderr);
        let said = format!("{}{}", ran.text(), ran.stderr);
        assert!(said.contains(&name) && said.len() < 2000, "{name} is named, and not repeated: {said}");
        assert!(state(&patient) == before, "{name} left something behind");
    }
    let huge = std::fs::File::create(world.path("huge.json")).expect("a file");
    huge.set_len((1 << 30) + 1).expect("a file with a hole");
    assert!(patient.fails(1, &["import", &world.name("huge.json")]).contains("huge.json: it is larger"));
    for wrong in [world.name("missing.json"), world.path("").to_str().expect("a path").to_owned() + "maria.words.d"] {
        assert!(patient.fails(1, &["import", &wrong]).contains(wrong.rsplit('/').next().expect("a name")));
    }
    assert!(state(&patient) == before);
}

#[test]
fn a_broken_entry_does_not_take_the_others_with_it() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let good = chart::resource("Observation/good", r#""status":"final""#);
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"collection","entry":[{{"resource":{good}}},{{"resource":{{"resourceType":"Observation","id":"twice","id":"twice"}}}},{{"resource":{{"id":"untyped"}}}},{{"resource":{{"resourceType":"Basic","id":"deep","extension":{}{}}}}}]}}"#,
        "[".repeat(100),
        "]".repeat(100)
    );
    let info = patient.json(&["import", &world.write("mixed.json", bundle.as_bytes())]);
    let refused: Vec<&str> = info["refused"].as_array().expect("an array").iter().filter_map(|refused| refused["position"].as_str()).collect();
    assert_eq!((info["published"].as_u64(), refused.len()), (Some(1), 3), "{info}");
    for (index, position) in refused.iter().enumerate() {
        assert!(position.contains("mixed.json") && position.contains(&(index + 1).to_string()), "{position}");
    }
    assert_eq!(chart::readable(&patient), chart::set(["Observation/good"]));
    let again = patient.json(&["import", &world.write("mixed.json", bundle.as_bytes())]);
    assert_eq!((&again["published"], &again["unchanged"]), (&0.into(), &1.into()));
}

#[test]
fn flipped_bits_are_read_or_refused() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let good = chart::bundle(&CHART[..3]);
    for step in 0..40 {
        let mut bad = good.clone();
        let at = step * good.len() / 40;
        bad[at] ^= 1 << (step % 8);
        let ran = patient.run(&["import", &world.write("flipped.json", &bad)]);
        assert!(ran.code <= 1, "byte {at}: {}", ran.stderr);
        if ran.code == 1 {
            assert!(format!("{}{}", ran.text(), ran.stderr).contains("flipped.json"), "{}", ran.stderr);
        }
    }
    assert_eq!(patient.json(&["ledger", "verify"])["ok"], true);
    for record in patient.records() {
        patient.ok(&["records", "show", &format!("{}/{}", record["type"].as_str().expect("a type"), record["id"].as_str().expect("an id"))]);
    }
}

#[test]
fn tickets_cards_and_invitations_that_are_wrong_are_refused() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let clinic = world.home("practitioner", "clinic");
    let ticket = clinic.ticket();
    for wrong in ["chartmesh:", "chartmesh:AQ", "chartmesh:!!!", &ticket[..ticket.len() - 4], &format!("{ticket}AAAA")] {
        assert!(patient.fails(2, &["peer", "add", wrong]).contains("ticket"), "{wrong}");
    }
    patient.fails(1, &["peer", "add", &ticket.replace("chartmesh:", "chartmess:")]);
    clinic.json(&["card", "--out", &world.name("card")]);
    let card = std::fs::read(world.path("card")).expect("the card");
    for at in (0..card.len()).step_by(card.len() / 30) {
        let mut bad = card.clone();
        bad[at] ^= 0x10;
        let said = patient.fails(1, &["peer", "add", &world.write("bad-card", &bad)]);
        assert!(said.contains("card"), "byte {at}: {said}");
    }
    for bad in [&card[..card.len() / 2], b"", b"age-encryption.org/v1\n-> nonsense"] {
        assert!([1, 3].contains(&patient.run(&["peer", "add", &world.write("bad-card", bad)]).code));
    }
    assert_eq!(patient.json(&["peer", "list"]), Value::Array(Vec::new()));

    // A ticket whose card hash is another's: whoever answers there is not who was meant.
    let serving = clinic.serve();
    let other = world.home("practitioner", "other");
    let (real, false_card): (chartmesh_identity::Ticket, chartmesh_identity::Ticket) =
        (clinic.ticket().parse().expect("a ticket"), other.ticket().parse().expect("a ticket"));
    let crossed = chartmesh_identity::Ticket { card: false_card.card, ..real.clone() };
    assert!(patient.fails(3, &["peer", "add", &crossed.to_string()]).contains("ticket"));
    let elsewhere = chartmesh_identity::Ticket { endpoint: false_card.endpoint, ..real };
    assert!(!patient.fails(4, &["peer", "add", &elsewhere.to_string()]).contains("::"));
    assert_eq!(patient.json(&["peer", "list"]), Value::Array(Vec::new()));
    serving.stop();
}

#[test]
fn a_ledger_file_that_was_tampered_with_is_found_out() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let anybody = world.home("practitioner", "anybody");
    patient.json(&["ledger", "export", &world.name("ledger")]);
    let good = std::fs::read(world.path("ledger")).expect("the ledger");
    let verified = anybody.json(&["ledger", "verify", &world.name("ledger")]);
    assert_eq!(verified["ok"], true, "whoever has the file can check it: {verified}");
    let step = (good.len() / 60).max(1);
    let mut found = 0;
    for at in (0..good.len()).step_by(step) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let ran = anybody.run(&["--json", "ledger", "verify", &world.write("tampered", &bad)]);
        let answer = ran.json();
        schema::check("verified", &answer);
        let wrong = !answer["problems"].as_array().expect("an array").is_empty() || !answer["forks"].as_array().expect("an array").is_empty();
        assert_eq!((ran.code == 0, answer["ok"] == true), (!wrong, !wrong), "byte {at}: {answer}");
        found += usize::from(wrong);
    }
    assert!(found >= 60, "every byte of the file counts: {found} of 60 changes were found");
    for bad in [&good[..good.len() / 2], b"", b"\xff"] {
        let ran = anybody.run(&["ledger", "verify", &world.write("tampered", bad)]);
        assert_eq!(ran.code, 1);
        assert!(ran.text().contains("ledger"), "{}", ran.text());
    }
    anybody.fails(1, &["ledger", "verify", &world.name("missing")]);
}

#[test]
fn wrong_usage_and_wrong_places_have_their_exit_codes() {
    let world = World::new();
    let patient = world.home("patient", "maria");
    let clinic = world.home("practitioner", "clinic");
    let words = world.name("again.words");
    assert!(patient.fails(1, &["init", "patient", "--name", "maria", "--no-passphrase", "--recovery-file", &words]).contains("already"));
    assert!(!world.path("again.words").exists());
    assert!(
        world.bare("third").fails(1, &["init", "patient", "--name", "x", "--no-passphrase", "--recovery-file", &world.name("maria.words")]).contains("already")
    );
    assert!(!world.path("third").exists(), "no home is made whose words could not be written");
    world.bare("third").fails(2, &["init", "patient", "--name", "a\nb", "--no-passphrase"]);
    for usage in [
        &["frobnicate"][..],
        &[],
        &["records"],
        &["records", "show"],
        &["init", "martian", "--name", "x"],
        &["sync", "--timeout", "soon"],
        &["records", "show", "nonsense"],
    ] {
        assert_eq!(patient.run(usage).code, 2, "{usage:?}");
        let ran = patient.run(&[&["--json"], usage].concat());
        assert_eq!(ran.code, 2, "{usage:?}");
        schema::check("error", &serde_json::from_str(&ran.stderr).unwrap_or_else(|error| panic!("{usage:?} ({error}): {}", ran.stderr)));
    }
    let nowhere = world.bare("nowhere");
    for command in [&["status"][..], &["records", "list"], &["serve"], &["sync"], &["key", "export", "--out", "/dev/null"]] {
        assert!(nowhere.fails(1, command).contains("nowhere"), "{command:?}");
    }
    assert!(!nowhere.path().exists());
    assert!(clinic.fails(2, &["import", &world.write("x.json", b"{}")]).contains("patient"));
    assert!([1, 3].contains(&clinic.run(&["records", "show", "Observation/1"]).code));
    assert!([1, 3].contains(&clinic.run(&["records", "export", &world.name("export")]).code));
    assert!(patient.fails(1, &["consent", "grant", "nobody"]).contains("nobody"));
    assert!(patient.fails(1, &["consent", "show", "abcd"]).contains("abcd"));
    assert!(patient.fails(1, &["consent", "revoke", "abcd"]).contains("abcd"));
    assert!(patient.fails(1, &["peer", "remove", "nobody"]).contains("nobody"));
    assert!(patient.fails(1, &["records", "list", "--patient", "nobody"]).contains("no other patient"));
    assert!(patient.fails(1, &["records", "sealed", "00", "--out", &world.name("out")]).contains("00"));
    std::fs::write(patient.path().join("config.json"), "{\"rellay\":1}").expect("writing");
    assert!(patient.fails(1, &["sync"]).contains("rellay"));
    std::fs::remove_file(patient.path().join("config.json")).expect("removing");

    // Somebody who is known and not there.
    let serving = clinic.serve();
    patient.meets(&clinic);
    serving.stop();
    let said = patient.fails(4, &["sync", "--timeout", "5s"]);
    assert!(said.contains("clinic") && said.contains("try: "), "{said}");
    let error: Value = serde_json::from_str(&patient.run(&["--json", "sync", "--timeout", "5s"]).stderr).expect("JSON");
    schema::check("error", &error);
    assert_eq!(error["error"]["kind"], "unreachable");
}

#[test]
fn damaged_homes_are_named_and_do_not_crash() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    for name in ["keys.age", "vault", "blobs"] {
        let copy = world.copy(&patient, &format!("damaged-{name}"));
        let path = copy.path().join(name);
        let victims = if path.is_dir() { crate::world::files(&path) } else { vec![path] };
        for victim in victims {
            let bytes = std::fs::read(&victim).expect("a file");
            std::fs::write(&victim, &bytes[..bytes.len() / 2]).expect("writing");
        }
        for command in [&["records", "list"][..], &["records", "show", "Observation/hba1c"], &["ledger", "verify"]] {
            let ran = copy.run(command);
            assert!(ran.code == 0 || ran.code == 1, "{name} {command:?}: {}", ran.stderr);
            if ran.code == 1 {
                assert!(!ran.stderr.is_empty() || !ran.stdout.is_empty());
            }
        }
        assert_ne!(copy.run(&["records", "show", "Observation/hba1c"]).code, 0, "{name}: a damaged record is not shown");
    }
}
