//! What must not be seen: keys, words and patient data, in files of others, in logs, or on the network's doorstep.

use crate::{
    chart::{self, MARKER},
    world::{World, contains, files, mode, until},
};

#[test]
fn only_the_owner_can_read_a_home() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let serving = patient.serve();
    for private in ["keys.age", "control.sock"] {
        assert_eq!(mode(&patient.path().join(private)), 0o600, "{private}");
    }
    assert_eq!(mode(patient.path()), 0o700);
    assert_eq!(mode(&world.path("maria.words")), 0o600);
    patient.json(&["key", "export", "--out", &world.name("keys")]);
    assert_eq!(mode(&world.path("keys")), 0o600);
    patient.json(&["records", "export", &world.name("export")]);
    assert_eq!(mode(&world.path("export")), 0o700);
    assert!(files(&world.path("export")).iter().all(|file| mode(file) == 0o600));
    serving.stop();
}

#[test]
fn logs_tell_neither_keys_nor_records() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let serving = clinic.serve();
    patient.meets(&clinic);
    patient.grants("clinic", &[]);
    patient.json(&["sync"]);
    assert!(chart::readable(&clinic).contains("Condition/hiv"));
    serving.stop();
    let later = world.write("later.json", &chart::result("later"));
    let mut said = String::new();
    let mut listening = patient.command(&["-vv", "--json", "serve", "--listen", "127.0.0.1:0"]);
    let mut listening = listening
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::from(std::fs::File::create(world.path("serve.log")).expect("a file")))
        .spawn()
        .expect("it starts");
    until("the node is up", || {
        let ran = patient.run(&["--json", "status"]);
        ran.code == 0 && ran.json()["running"] == true
    });
    for (home, args) in [
        (&clinic, &["-vv", "sync"][..]),
        (&clinic, &["-vv", "records", "show", "Condition/hiv"]),
        (&patient, &["-vv", "import", &later]),
        (&patient, &["-vv", "records", "show", "Condition/hiv"]),
        (&patient, &["-vv", "records", "show", "Condition/none"]),
        (&patient, &["-vv", "import", &world.write("bad.json", format!("{{\"{MARKER}\":{MARKER}}}").as_bytes())]),
        (&patient, &["-vv", "key", "export", "--out", &world.name("keys")]),
    ] {
        said.push_str(&home.run(args).stderr);
    }
    let killed = std::process::Command::new("kill").arg(listening.id().to_string()).status().expect("kill");
    assert!(killed.success() && listening.wait().expect("it ends").code() == Some(0));
    said.push_str(&std::fs::read_to_string(world.path("serve.log")).expect("the log"));
    assert!(said.contains("an invitation was accepted") || said.contains("DEBUG") || said.contains("INFO"), "there is something to look at: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let words = std::fs::read_to_string(world.path("maria.words")).expect("words");
    let mut secrets: Vec<String> =
        vec![MARKER.to_owned(), "AGE-SECRET-KEY".to_owned(), words.trim().to_owned(), "Penicillin".to_owned(), "165816005".to_owned(), "zebra".to_owned()];
    let keys = std::fs::read_to_string(world.path("keys")).expect("keys");
    secrets.extend(keys.lines().filter(|line| line.starts_with("AGE-SECRET-KEY")).map(str::to_owned));
    assert!(secrets.len() > 6);
    for secret in secrets {
        assert!(!contains(said.as_bytes(), secret.as_bytes()), "a log tells {}", &secret[..secret.len().min(24)]);
    }
}

#[test]
fn a_passphrase_protects_the_keys() {
    let world = World::new();
    let patient = world.bare("maria");
    let (right, wrong) = (world.write("right", b"correct horse battery staple\n"), world.write("wrong", b"incorrect horse battery staple\n"));
    patient.ok(&["--passphrase-file", &right, "init", "patient", "--name", "maria", "--recovery-file", &world.name("maria.words")]);
    patient.ok(&["--passphrase-file", &right, "import", &world.write("chart.json", &chart::bundle(chart::CHART))]);
    let none = patient.fails(1, &["--passphrase-file", &wrong, "records", "list"]);
    assert!(none.contains("passphrase") && none.contains("try: ") && !none.contains("horse"), "{none}");
    assert_ne!(patient.run(&["records", "list"]).code, 0);
    let keys = std::fs::read(patient.path().join("keys.age")).expect("the keys");
    assert!(keys.starts_with(b"age-encryption.org/v1\n-> scrypt "));
    assert!(patient.ok(&["--passphrase-file", &right, "records", "list"]).text().contains("Observation/hba1c"));
    for needle in [MARKER, "maria", "Penicillin"] {
        let found: Vec<_> = files(patient.path()).into_iter().filter(|path| contains(&std::fs::read(path).expect("a file"), needle.as_bytes())).collect();
        assert!(found.is_empty(), "{needle} is in {found:?}");
    }
}
