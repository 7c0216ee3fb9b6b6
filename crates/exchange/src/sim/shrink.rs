//! Makes a script as short as it gets: leaves out ever smaller runs of steps as long as what is wrong stays wrong (delta debugging).

use super::act::Script;

/// The shortest script found that `fails`, trying at most so many.
pub fn shrink(script: &Script, most: usize, fails: impl Fn(&Script) -> bool) -> Script {
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
            if fails(&shorter) {
                best = shorter;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::{
        super::{act::Act, plot},
        *,
    };

    #[test]
    fn what_does_not_matter_is_left_out() {
        let script = plot(3, 60);
        let (first, last) = (script.steps[5].clone(), script.steps[41].clone());
        let fails = |script: &Script| script.steps.contains(&first) && script.steps.contains(&last);
        let short = shrink(&script, 1000, fails);
        assert_eq!(short.steps, [first.clone(), last.clone()]);
        assert!(shrink(&script, 10, fails).steps.len() > 2, "it stops when it has tried enough");
        let always = shrink(&script, 1000, |_| true);
        assert!(always.steps.is_empty() && script.steps.iter().any(|step| matches!(step.act, Act::Meet { .. })));
    }
}
