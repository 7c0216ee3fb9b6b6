//! SIGKILL at any moment: what was acknowledged is there, and nothing is there in part.

use crate::{home::Home, writer};

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let home = Home::new();
    drop(home.create());
    let mut last = 0;
    for round in 0..24u64 {
        let mut writer = writer::Writer::start(&home.path());
        let mut acknowledged = last;
        for _ in 0..=(round * 13 % 31) {
            acknowledged = writer.acknowledged().expect("the writer goes on until it is killed");
        }
        acknowledged = writer.kill().unwrap_or(acknowledged);
        last = writer::check(&home.open().unwrap());
        assert!((acknowledged..=acknowledged + 1).contains(&last), "round {round}: {acknowledged} acknowledged, {last} found");
    }
}
