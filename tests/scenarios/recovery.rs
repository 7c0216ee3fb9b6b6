//! Everything comes back from the words and a custodian, and the lost device has no authority any more.

use crate::{
    chart::{self, CHART, Names, set},
    world::{World, files, until},
};

#[test]
fn words_and_a_custodian_bring_everything_back_and_disown_the_old_device() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let source = chart::resources(&chart::bundle(CHART));
    let all: Names = source.keys().cloned().collect();
    let ledger = patient.ledger();
    let (custodian, clinic) = (world.home("custodian", "vaultco"), world.home("organization", "clinic"));
    let keeping = custodian.serve();
    let reading = clinic.serve();
    patient.meets(&custodian);
    patient.meets(&clinic);
    patient.grants("vaultco", &["--custodian"]);
    let grant = patient.grants("clinic", &["--read", "general"]);
    patient.json(&["sync"]);
    let documents = chart::documents(&patient, |_| true);
    until("the custodian has everything", || chart::documents(&custodian, |_| true) == documents && custodian.json(&["status"])["pending"] == 0);
    until("the clinic reads", || chart::readable(&clinic).contains("Observation/hba1c"));

    let old = world.copy(&patient, "backup");
    std::fs::remove_dir_all(patient.path()).expect("the device is lost");
    let new = world.bare("new");
    let words = world.name("maria.words");
    let ticket = custodian.ticket();
    let back = new.json(&["recover", "--words-file", &words, "--from", &ticket, "--no-passphrase"]);
    assert_eq!((back["ledger"].as_str(), &back["missing"], &back["suspended"]), (Some(ledger.as_str()), &0.into(), &1.into()), "{back}");
    assert_eq!(chart::readable(&new), all);
    chart::assert_shows(&new, &all, &source);
    assert_eq!(new.ledger(), ledger);
    assert!(
        new.json(&["consent", "list"])
            .as_array()
            .is_some_and(|grants| grants.iter().any(|known| known["grant"] == grant.as_str() && known["state"] == "active"))
    );
    assert_eq!(new.json(&["ledger", "verify"])["ok"], true);

    // What the new device does reaches the clinic, which was granted before.
    new.json(&["import", &world.write("after.json", &chart::result("after"))]);
    new.json(&["sync"]);
    until("the clinic reads what is new", || {
        clinic.json(&["sync"]);
        chart::readable(&clinic).contains("Observation/after")
    });

    // The thief's device still reads what it held. It gets nothing new, and what it signs is worth nothing.
    let before = chart::readable(&old);
    assert_eq!(before, all);
    old.run(&["import", &world.write("thief.json", &chart::result("by-the-thief"))]);
    old.run(&["consent", "revoke", &grant]);
    assert!(old.fails(3, &["sync", "--timeout", "20s"]).contains("was replaced"), "it is told");
    assert!(old.json(&["status"])["notice"].as_str().is_some_and(|notice| notice.contains("was replaced")));
    old.fails(3, &["consent", "grant", "clinic"]);
    assert!(chart::readable(&old).is_superset(&before), "what it held it can read");
    let stolen = chart::readable(&old);
    assert!(!stolen.contains("Observation/after"), "{stolen:?}");
    let after = chart::documents(&new, chart::is_one_of(&set(["Observation/after"])));
    assert_eq!(chart::stored(&old, &after), Vec::<String>::new());
    let keys = chart::identities(&world, &old);
    assert!(chart::opened_by(&keys, &chart::sealed(&world, &new, &after)).is_empty());
    new.json(&["sync"]);
    clinic.json(&["sync"]);
    for home in [&new, &clinic] {
        assert!(!chart::readable(home).contains("Observation/by-the-thief"), "{}", home.path().display());
    }
    assert!(clinic.json(&["consent", "list"]).as_array().is_some_and(|grants| grants.iter().all(|grant| grant["state"] == "active")));
    let log = custodian.json(&["ledger", "log"]);
    let standing = log.as_array().expect("an array").iter().filter(|entry| entry["verdict"].as_str().is_some_and(|verdict| verdict.starts_with("stand")));
    assert!(standing.count() > 0);
    reading.stop();
    keeping.stop();
}

/// A device that was stolen can strike off whoever keeps the records, and nobody tells that from what the patient did.
#[test]
fn the_words_bring_everything_back_from_a_custodian_that_a_thief_struck_off() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let all = chart::readable(&patient);
    let custodian = world.home("custodian", "vaultco");
    let keeping = custodian.serve();
    patient.meets(&custodian);
    let custody = patient.grants("vaultco", &["--custodian"]);
    patient.json(&["sync"]);
    let documents = chart::documents(&patient, |_| true);
    until("the custodian has everything", || chart::documents(&custodian, |_| true) == documents && custodian.json(&["status"])["pending"] == 0);
    let thief = world.copy(&patient, "stolen");
    std::fs::remove_dir_all(patient.path()).expect("the device is lost");
    thief.json(&["consent", "revoke", &custody]);
    thief.json(&["sync"]);
    thief.json(&["import", &world.write("thief.json", &chart::result("by-the-thief"))]);
    thief.run(&["sync", "--timeout", "5s"]);
    assert_eq!(chart::documents(&custodian, |_| true), documents, "it keeps nothing any more");

    let new = world.bare("new");
    let (words, ticket) = (world.name("maria.words"), custodian.ticket());
    let recover = ["recover", "--words-file", &words, "--from", &ticket, "--no-passphrase"];
    let said = new.fails(3, &recover);
    assert!(said.contains("may be old") && said.contains("--former"), "{said}");
    assert!(!new.path().exists());
    let back = new.json(&[&recover[..], &["--former"]].concat());
    assert_eq!((&back["missing"], &back["suspended"]), (&0.into(), &1.into()), "{back}");
    assert_eq!(chart::readable(&new), all);

    // It is struck off until the patient grants it custody again; then it keeps what is new, and serves as before.
    assert_eq!(new.json(&["import", &world.write("after.json", &chart::result("after"))])["published"], 1);
    new.grants("vaultco", &["--custodian"]);
    new.json(&["sync"]);
    let documents = chart::documents(&new, |_| true);
    until("the custodian has everything again", || chart::documents(&custodian, |_| true) == documents && custodian.json(&["status"])["pending"] == 0);
    assert!(thief.fails(3, &["sync", "--timeout", "20s"]).contains("was replaced"));
    assert!(!chart::readable(&thief).contains("Observation/after"));
    assert!(!chart::readable(&new).contains("Observation/by-the-thief"));
    keeping.stop();
}

#[test]
fn recovery_that_fails_leaves_nothing_behind() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let stranger = world.home("patient", "stranger");
    let custodian = world.home("custodian", "vaultco");
    let keeping = custodian.serve();
    patient.meets(&custodian);
    patient.grants("vaultco", &["--custodian"]);
    patient.json(&["sync"]);
    let ticket = custodian.ticket();
    let new = world.bare("new");
    let recover = |words: &str, from: &str| new.run(&["recover", "--words-file", words, "--from", from, "--no-passphrase", "--timeout", "10s"]);

    let right = std::fs::read_to_string(world.path("maria.words")).expect("words");
    let mut wrong: Vec<&str> = right.split_whitespace().collect();
    wrong.swap(0, 1);
    let misspelt = right.replacen(wrong[3], "zzzz", 1);
    let texts = [wrong.join(" "), misspelt, wrong[..23].join(" "), String::new()];
    for (index, text) in texts.iter().enumerate() {
        let file = world.write(&format!("wrong-{index}"), text.as_bytes());
        let ran = recover(&file, &ticket);
        assert_eq!(ran.code, 1, "{index}: {}", ran.stderr);
        assert!(ran.stderr.contains("words"), "{}", ran.stderr);
        assert!(
            right.split_whitespace().filter(|word| ran.stderr.split(|c: char| !c.is_alphabetic()).any(|said| said == *word)).count() < 3,
            "words are not repeated: {}",
            ran.stderr
        );
    }
    let others = recover(&world.name("stranger.words"), &ticket);
    assert_eq!(others.code, 3, "{}", others.stderr);
    keeping.stop();
    let nobody = recover(&world.name("maria.words"), &ticket);
    assert_eq!(nobody.code, 4, "{}", nobody.stderr);
    assert_eq!(recover(&world.name("maria.words"), "chartmesh:nonsense").code, 2);
    assert!(!new.path().exists() || files(new.path()).is_empty(), "{:?}", files(new.path()));
    // What was there before is not this program's.
    std::fs::create_dir_all(new.path().join("blobs")).expect("a directory");
    std::fs::write(new.path().join("blobs/kept"), b"somebody's").expect("a file");
    assert_eq!(recover(&world.name("maria.words"), &ticket).code, 4);
    assert!(new.path().join("blobs/kept").exists() && !new.path().join("vault.new").exists() && !new.path().join("commits").exists());
    assert!(stranger.fails(1, &["recover", "--words-file", &world.name("maria.words"), "--from", &ticket, "--no-passphrase"]).contains("already"));
}
