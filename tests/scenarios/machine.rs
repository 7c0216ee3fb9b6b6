//! A machine with one node on it, which can be struck: its processes are killed, or, if it has a disk of its own, its power is cut.

use std::process::Command;

use crate::{
    disk::Disk,
    world::{Home, Running, Serving, World, until},
};

/// A machine. What runs on it ends before its disk is unmounted.
pub(crate) struct Machine {
    serving: Option<Serving>,
    pub(crate) home: Home,
    /// Where it listens, the same after every start.
    address: String,
    disk: Option<Disk>,
}

impl Machine {
    /// A machine with a new node, which is running.
    pub(crate) fn new(world: &World, kind: &str, name: &str, disk: Option<Disk>) -> Self {
        let home = disk.as_ref().map_or_else(|| world.home(kind, name), |disk| world.home_in(disk.at(), kind, name));
        let serving = home.serve();
        let address = serving.ready["addresses"][0].as_str().expect("an address").to_owned();
        Self { serving: Some(serving), home, address, disk }
    }

    pub(crate) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Starts the node, if it is not running: nothing but `serve` is needed, whatever happened before.
    pub(crate) fn start(&mut self) {
        if self.serving.is_none() {
            self.serving = Some(self.home.serve_at(&self.address));
        }
    }

    /// Stops the node, if it is running, as a person would.
    pub(crate) fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.stop();
        }
    }

    /// Strikes: the node if it is running, else the command, which is one on this machine. With a disk, everything on the machine, and what the disk had not got is lost.
    pub(crate) fn strike(&mut self, mut command: Option<&mut Running>) {
        if let Some(disk) = &self.disk {
            let processes: Vec<u32> = command.iter().map(|command| command.process()).chain(self.serving.iter().map(|serving| serving.process())).collect();
            processes.iter().for_each(|process| stop(*process));
            // Between being stopped and the copy nothing is sent: what others have, was sent before.
            until("everything stands still", || processes.iter().all(|process| stands_still(*process, disk.copies_at_once())));
            disk.copy();
        }
        let whole = self.disk.is_some();
        if let Some(command) = command.take_if(|_| whole || self.serving.is_none()) {
            command.kill();
        }
        if let Some(serving) = self.serving.take() {
            serving.kill();
        }
        if let Some(disk) = &self.disk {
            disk.go_on_with_copy();
        }
    }
}

fn stop(process: u32) {
    // One that has just ended stands still as well.
    let _ = Command::new("kill").args(["-STOP", &process.to_string()]).stderr(std::process::Stdio::null()).status();
}

/// Whether every thread of a process is stopped; with `or_waits_for_disk`, one that waits for its disk will do, as it cannot send anything.
fn stands_still(process: u32, or_waits_for_disk: bool) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return true };
    threads.flatten().all(|thread| {
        let state = std::fs::read_to_string(thread.path().join("stat")).ok().and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
        matches!(state, None | Some('T' | 'Z' | 'X')) || (or_waits_for_disk && state == Some('D'))
    })
}
