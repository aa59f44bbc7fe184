//! Writing `results.json` and `report.html`, each whole or not at all.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use mic_nn::files::write_whole;

use super::{Gallery, page};
use crate::reproduce::results::Results;

/// Writes both files below `folder`, replacing older ones, with a gallery a pair of domains.
///
/// # Errors
///
/// Names the file that cannot be written.
pub fn write(folder: &Path, results: &Results, galleries: &[Gallery]) -> Result<()> {
    let numbers = serde_json::to_vec_pretty(results).context("writing the results as JSON")?;
    replace(&folder.join("results.json"), &numbers)?;
    replace(
        &folder.join("report.html"),
        page(results, galleries)?.as_bytes(),
    )
}

fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = write_whole(path, |file| file.write_all(bytes));
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::sample;

    #[test]
    fn results_can_be_read_back_and_no_other_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new/run");
        let results = sample::results(2);
        write(&out, &results, &[sample::gallery()]).unwrap();
        write(&out, &results, &[sample::gallery()]).unwrap();
        let text = fs::read_to_string(out.join("results.json")).unwrap();
        let again: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(
            again.pairs[0].methods[1].runs[1].scores,
            results.pairs[0].methods[1].runs[1].scores
        );
        assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
    }

    #[test]
    fn an_unwritable_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write(&file, &sample::results(1), &[sample::gallery()]).unwrap_err();
        assert!(error.to_string().contains("results.json"), "{error}");
    }
}
