//! Which checkpoints stay.

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest ones, at least 1.
    pub last: usize,
    /// Those at multiples of this many steps; 0: none for this reason.
    pub every: u64,
    /// The one with the best evaluation.
    pub best: bool,
}

/// Those of `steps` (ascending) that the rule does not keep; `best` is the step of the best
/// evaluation.
pub fn superseded(steps: &[u64], keep: Keep, best: Option<u64>) -> Vec<u64> {
    let old = &steps[..steps.len().saturating_sub(keep.last.max(1))];
    let kept = |step: u64| {
        (keep.best && best == Some(step)) || (keep.every > 0 && step.is_multiple_of(keep.every))
    };
    old.iter().copied().filter(|step| !kept(*step)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_best_and_every_stay() {
        let rule = |last, every, best| Keep { last, every, best };
        let steps = [100, 200, 300, 400, 500];
        let gone = |keep, best| superseded(&steps, keep, best);
        assert_eq!(gone(rule(2, 0, true), Some(200)), [100, 300]);
        assert_eq!(gone(rule(1, 200, false), Some(300)), [100, 300]);
        assert_eq!(gone(rule(9, 0, true), None), [0; 0]);
        // There is always one to go on from.
        assert_eq!(gone(rule(0, 0, false), None), [100, 200, 300, 400]);
    }
}
