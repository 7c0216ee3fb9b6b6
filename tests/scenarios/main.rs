//! End-to-end scenarios: real processes of the real program on real homes, over real sockets on loopback. One file per theme.

mod attachments;
mod audit;
mod cable;
mod canaries;
mod chance;
mod chart;
mod crash;
mod decoders;
mod disk;
mod doctor;
mod full_disk;
mod input;
mod lab;
mod machine;
mod mistakes;
mod naming;
mod network;
mod offline;
mod outage;
mod probe;
mod published;
mod recovery;
mod schedule;
mod schema;
mod secrets;
mod sharing;
mod story;
mod stranger;
mod terms;
mod together;
mod world;

#[test]
fn no_theme_is_forgotten() {
    let main = include_str!("main.rs");
    for file in world::files(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")) {
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a name");
        assert!(name == "main" || main.contains(&format!("mod {name};\n")), "{name} is not in main.rs");
    }
}
