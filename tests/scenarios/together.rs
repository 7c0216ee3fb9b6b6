//! Several commands on one home, alone and beside a running node; ends and restarts.

use crate::{
    chart::{self, CHART, Names, set},
    world::{World, mode, until},
};

#[test]
fn two_commands_at_once_do_not_hurt_one_another() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let imports: Vec<String> = (0..4).map(|number| world.write(&format!("{number}.json"), &chart::result(&format!("at-once-{number}")))).collect();
    let running: Vec<_> = imports.iter().map(|file| patient.start(&["import", file])).collect();
    let mut done = 0;
    let ended: Vec<_> = running.into_iter().map(crate::world::Running::end).collect();
    for (ran, file) in ended.into_iter().zip(&imports) {
        if ran.code == 0 {
            done += 1;
        } else {
            assert!(ran.code == 1 && ran.stderr.contains("maria"), "whoever finds the home in use says so: {}", ran.stderr);
            patient.json(&["import", file]);
        }
    }
    assert!(done >= 1);
    let expected: Names = CHART.iter().map(|(name, _)| (*name).to_owned()).chain((0..4).map(|number| format!("Observation/at-once-{number}"))).collect();
    assert_eq!(chart::readable(&patient), expected);
    assert_eq!(patient.json(&["ledger", "verify"])["ok"], true);
}

#[test]
fn commands_ask_the_running_node() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let clinic = world.home("practitioner", "clinic");
    let (at_home, at_clinic) = (patient.serve(), clinic.serve());
    assert_eq!(mode(&patient.path().join("control.sock")), 0o600);
    assert_eq!(patient.json(&["status"])["running"], true);
    assert_eq!(at_home.ready["endpoint"], patient.json(&["card"])["endpoint"]);
    assert!(patient.fails(1, &["serve", "--listen", "127.0.0.1:0"]).contains("already running"));
    patient.meets(&clinic);
    patient.grants("clinic", &["--read", "general"]);
    until("without any sync, what is granted arrives", || chart::readable(&clinic).contains("Observation/hba1c"));
    until("they are connected", || {
        clinic.json(&["status"])["peers"].as_array().is_some_and(|peers| peers.iter().any(|peer| peer["online"] == true && peer["path"] == "direct"))
    });
    let imports: Vec<_> =
        (0..4).map(|number| patient.start(&["import", &world.write(&format!("{number}.json"), &chart::result(&format!("live-{number}")))])).collect();
    for import in imports {
        let ran = import.end();
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    until("and so does what is new", || (0..4).all(|number| chart::readable(&clinic).contains(&format!("Observation/live-{number}"))));
    clinic.ok(&["records", "show", "Observation/live-0"]);
    until("and so do receipts", || patient.json(&["audit"]).as_array().map(Vec::len) == Some(1));
    at_clinic.stop();
    at_home.stop();
    assert!(!patient.path().join("control.sock").exists());
    assert_eq!(patient.json(&["status"])["running"], false);
}

#[test]
fn a_node_keeps_everything_over_a_restart_and_a_power_cut() {
    let world = World::new();
    let patient = chart::patient(&world, "maria");
    let source = chart::resources(&chart::bundle(CHART));
    let all: Names = source.keys().cloned().collect();
    let clinic = world.home("practitioner", "clinic");
    let mut serving = clinic.serve();
    patient.meets(&clinic);
    let grant = patient.grants("clinic", &[]);
    patient.json(&["sync"]);
    assert_eq!(chart::readable(&clinic), all);
    let before = (clinic.records(), clinic.json(&["ledger", "log"]), clinic.json(&["peer", "list"]), clinic.json(&["consent", "list"]));
    for cut in [false, true, true] {
        if cut {
            serving.kill()
        } else {
            drop(serving.stop())
        }
        serving = clinic.serve();
        let after = (clinic.records(), clinic.json(&["ledger", "log"]), clinic.json(&["peer", "list"]), clinic.json(&["consent", "list"]));
        assert!(before == after, "something is different after a restart");
        assert_eq!(clinic.json(&["ledger", "verify"])["ok"], true);
    }
    chart::assert_shows(&clinic, &all, &source);
    patient.json(&["import", &world.write("later.json", &chart::result("later"))]);
    // Its port is another one now; the patient learns it from the new ticket.
    patient.meets(&clinic);
    patient.json(&["sync"]);
    assert!(chart::readable(&clinic).contains("Observation/later"), "a sync ends when the other side has everything");
    patient.json(&["consent", "revoke", &grant]);

    let at_home = patient.serve();
    patient.json(&["import", &world.write("before-cut.json", &chart::result("before-cut"))]);
    at_home.kill();
    chart::assert_shows(&patient, &set(["Observation/before-cut"]), &chart::resources(&chart::result("before-cut")));
    assert_eq!(patient.json(&["ledger", "verify"])["ok"], true);
    serving.stop();
}

#[test]
fn the_demonstration_comes_out_as_told() {
    let world = World::new();
    let nobody = world.bare("nobody");
    let told = nobody.json(&["demo"]);
    assert!(told["steps"].as_array().is_some_and(|steps| steps.len() > 5), "{told}");
    assert!(!nobody.path().exists());
}
