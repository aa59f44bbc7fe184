//! Scores that others published.

use mic_run::config::{Configuration, Evidence};

/// Explains the marks of [`score`].
pub(super) const MARKS: &str = "published: in per cent, the mean over its seeds; [S] read in a source, \
                                [T] copied from the published table and not checked against it again";

/// The published score with the mark of its evidence; a dash where none is known.
pub(super) fn score(configuration: &Configuration) -> String {
    let Some(score) = configuration.published else {
        return "-".into();
    };
    let mark = match configuration.evidence {
        Some(Evidence::Source) => " [S]",
        Some(Evidence::Transcription) => " [T]",
        None => "",
    };
    let note = configuration.note.as_deref();
    let note = note.map_or_else(String::new, |note| format!(" ({note})"));
    format!("{score:.1}{mark}{note}")
}
