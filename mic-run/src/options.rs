//! The table `[run]` of a configuration: what a run writes and when it stops.

use serde::{Deserialize, Serialize};

use crate::checkpoint::Keep;
use crate::{Error, Result};

/// The table `[run]`. Nothing in it changes the weights that come out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunOptions {
    /// Steps between checkpoints; 0: at the end, on a signal and for the best evaluation only.
    pub checkpoint_every: u64,
    /// The newest checkpoints that stay, at least 1.
    pub keep_last: usize,
    /// Checkpoints at multiples of this many steps stay, too; 0: none for this reason.
    pub keep_every: u64,
    /// The checkpoint of the best evaluation is written and stays, too.
    pub keep_best: bool,
    /// The run stops after this many evaluations without a better one; 0: never.
    pub early_stop: u64,
    /// Steps whose loss or gradient is not finite are left out, this many at most; 0: the run stops
    /// at the first.
    pub skip_non_finite: u64,
    /// What happens when a checkpoint cannot be written: `continue` with a warning, or `stop`.
    pub on_write_error: String,
    /// Event files for TensorBoard.
    pub tensorboard: bool,
    /// Steps over which TensorBoard's scalars are averaged, at least 1.
    pub log_every: u64,
    /// Sample pictures at every evaluation.
    pub pictures: bool,
    /// Histograms of the weights at every evaluation.
    pub histograms: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            checkpoint_every: 1000,
            keep_last: 2,
            keep_every: 0,
            keep_best: true,
            early_stop: 0,
            skip_non_finite: 0,
            on_write_error: "continue".into(),
            tensorboard: true,
            log_every: 10,
            pictures: true,
            histograms: false,
        }
    }
}

impl RunOptions {
    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Usage`] names the key, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        let refuse = |key: &str, found: String, expected: &str| {
            Err(Error::Usage(format!(
                "run.{key} is {found}; expected {expected}"
            )))
        };
        if self.keep_last == 0 {
            return refuse("keep_last", "0".into(), "at least 1, to go on from");
        }
        if self.log_every == 0 {
            return refuse("log_every", "0".into(), "at least 1");
        }
        if !["continue", "stop"].contains(&self.on_write_error.as_str()) {
            let found = format!("{:?}", self.on_write_error);
            return refuse("on_write_error", found, "\"continue\" or \"stop\"");
        }
        Ok(())
    }

    /// The same, checked.
    ///
    /// # Errors
    /// Those of [`RunOptions::check`].
    pub fn checked(&self) -> Result<Self> {
        self.check()?;
        Ok(self.clone())
    }

    /// Which checkpoints stay.
    pub fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            every: self.keep_every,
            best: self.keep_best,
        }
    }

    /// Whether a checkpoint that cannot be written ends the run.
    pub(crate) fn stops_on_write_error(&self) -> bool {
        self.on_write_error == "stop"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_right_and_wrong_values_are_named() {
        let options: RunOptions = toml::from_str("").unwrap();
        assert_eq!(options, RunOptions::default());
        options.check().unwrap();
        for (text, part) in [
            ("keep_last = 0", "run.keep_last is 0"),
            ("log_every = 0", "run.log_every is 0"),
            ("on_write_error = \"panic\"", "\"continue\" or \"stop\""),
        ] {
            let options: RunOptions = toml::from_str(text).unwrap();
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(toml::from_str::<RunOptions>("keep = 1").is_err());
    }
}
