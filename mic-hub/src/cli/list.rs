//! `mic-hub weights --list`.

use std::path::Path;

use crate::manifest::{Entry, Origin};
use crate::text::columns;
use crate::{Fetcher, Manifest, Result};

/// What is known, and what of it is there.
pub(super) fn text(manifest: &Manifest, fetcher: &Fetcher, out: &Path) -> Result<String> {
    let mut rows = vec![
        ["name", "from", "pinned", "size", "there", "licence"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for entry in &manifest.entries {
        rows.push(row(entry, fetcher, out));
    }
    let mut text = columns(&rows);
    text += &format!(
        "\nthere: \"cache\" is the Hub's cache, \"{}\" the converted file. pinned: \"hash\" is commit \
         and SHA-256,\n\"commit\" the commit alone, whose SHA-256 the Hub tells; \"no\": the first \
         download counts\n(recorded in {}).\n",
        out.display(),
        fetcher.ledger().display()
    );
    Ok(text)
}

fn row(entry: &Entry, fetcher: &Fetcher, out: &Path) -> Vec<String> {
    let mut there = Vec::new();
    let (from, pinned, size) = match &entry.origin {
        Origin::Hub(file) => {
            if fetcher.cached(file).is_some() {
                there.push("cache".to_owned());
            }
            let pinned = match (file.pinned(), &file.sha256) {
                (true, Some(_)) => "hash",
                (true, None) => "commit",
                _ => "no",
            };
            let size = file.megabytes.map(|size| format!("{size} MB"));
            (file.repository.clone(), pinned, size)
        }
        Origin::Page(page) => {
            let known = if page.sha256.is_some() { "hash" } else { "no" };
            (page.page.clone(), known, None)
        }
    };
    if !entry.network.as_it_is() && out.join(&entry.saves).is_file() {
        there.push(out.display().to_string());
    }
    vec![
        entry.name.clone(),
        from,
        pinned.into(),
        size.unwrap_or_default(),
        there.join(", "),
        entry.licence.clone(),
    ]
}
