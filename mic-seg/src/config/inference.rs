//! How a trained network sees images of any size.

use super::raw::RawInference;
use crate::Result;
use mic_run::config::check::{at_least_one, one_of, refuse, required, size};

/// How a trained network sees images of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inference {
    /// The image at once.
    Whole,
    /// The mean of the logits of overlapping windows.
    Slide {
        /// (width, height) of a window in pixels.
        window: (u32, u32),
        /// (x, y) steps between windows in pixels, at least 1, not larger than the window.
        stride: (u32, u32),
        /// Windows that pass through the network together, at least 1.
        batch: usize,
    },
}

impl Inference {
    pub(super) fn check(raw: &RawInference, crop: Option<[usize; 2]>) -> Result<Self> {
        let batch = at_least_one("inference.batch", raw.batch as u64)? as usize;
        let modes = [("whole", false), ("slide", true)];
        if !one_of("inference.mode", &raw.mode, &modes)? {
            return Ok(Self::Whole);
        }
        let why = "inference.mode = \"slide\" needs the size of its windows; name it, or set \
                   data.crop, whose size they then have";
        let window = raw.window.or(crop);
        let window = size(
            "inference.window",
            *required("inference.window", window.as_ref(), why)?,
        )?;
        let half = |side: u32| side.div_ceil(2);
        let stride = match raw.stride {
            Some(stride) => size("inference.stride", stride)?,
            None => (half(window.0), half(window.1)),
        };
        if stride.0 > window.0 || stride.1 > window.1 {
            let found = format!("[{}, {}]", stride.0, stride.1);
            let (w, h) = window;
            let expected = format!("steps not larger than a window, [{w}, {h}]");
            return refuse("inference.stride", found, expected);
        }
        Ok(Self::Slide {
            window,
            stride,
            batch,
        })
    }
}
