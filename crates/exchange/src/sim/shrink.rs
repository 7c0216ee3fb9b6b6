//! Makes a script that breaks a rule as short as it gets: leaves out ever smaller runs of steps as long as the same rule still breaks (delta debugging).

use super::{act::Script, run_script, world::Rule};

/// The shortest script found that still breaks `rule`, trying at most so many.
pub fn shrink(script: &Script, rule: Rule, most: usize) -> Script {
    let mut tried = 0;
    let mut best = script.clone();
    let mut size = best.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.steps.len() {
            if tried == most {
                return best;
            }
            tried += 1;
            let mut steps = best.steps.clone();
            steps.drain(at..(at + size).min(steps.len()));
            let shorter = Script { seed: best.seed, steps };
            if run_script(&shorter, false).problems.iter().any(|problem| problem.rule == rule) {
                best = shorter;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    best
}
