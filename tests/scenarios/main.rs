//! End-to-end scenarios: real processes of the real program, real sockets on loopback.

mod world;

#[test]
fn smoke() {
    let world = world::World::new();
    let patient = world.home("patient", "maria");
    assert!(patient.records().is_empty());
}
