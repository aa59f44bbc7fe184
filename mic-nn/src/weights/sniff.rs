//! What kind of file this is, by its first bytes; its name says nothing.

use super::error::Parse;
use super::input::Input;

/// A format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A zip archive, PyTorch's since version 1.6.
    Zip,
    Safetensors,
    /// A pickle, with or without storages behind it.
    Pickle,
}

/// First bytes of formats that hold no weights, or weights that are not read.
const FOREIGN: [(&[u8], &str); 15] = [
    (b"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (b"\x93NUMPY", "a numpy .npy array"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a program"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x05\x06", "an empty zip archive"),
];

/// Every format that is read, for messages.
pub(super) const EXPECTED: &str =
    "expected a .safetensors file or a PyTorch checkpoint (.pth, .pt, .bin, .ckpt, .pkl)";

/// The format, or what the file looks like instead.
pub(super) fn sniff(input: &Input) -> Parse<Result<Format, String>> {
    let head = input.head(512)?;
    if head.is_empty() {
        return Ok(Err("the file is empty: download it again".into()));
    }
    if head.starts_with(b"PK\x03\x04") {
        return Ok(Ok(Format::Zip));
    }
    if let Some((_, what)) = FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Ok(Err(format!("it is {what}; {EXPECTED}")));
    }
    if head.get(257..262) == Some(b"ustar") {
        return Ok(Err(format!(
            "it is a tar archive (PyTorch 0.1 wrote such files): unpack it, or load and save it \
             again in Python; {EXPECTED}"
        )));
    }
    // Eight printable characters would be a length beyond any disk.
    let letters = head
        .iter()
        .take(8)
        .all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
    if head.get(8) == Some(&b'{') && !letters {
        return Ok(Ok(Format::Safetensors));
    }
    // Protocols 2 and later name themselves; before that a pickle begins with one of these.
    if head[0] == 0x80 && head.get(1).is_some_and(|&protocol| protocol < 32) {
        return Ok(Ok(Format::Pickle));
    }
    if let Some(what) = as_text(&head) {
        return Ok(Err(what));
    }
    if b"(}]clLIF".contains(&head[0]) {
        return Ok(Ok(Format::Pickle));
    }
    if head.iter().all(|&b| b == 0) {
        return Ok(Err(
            "it begins with zeros: the download was not completed; download it again".into(),
        ));
    }
    Ok(Err(format!(
        "its first bytes ({:02x?}) are those of no format that is read; {EXPECTED}",
        &head[..head.len().min(8)]
    )))
}

/// What a text looks like; `None` for no text, or for a pickle of protocol 0.
fn as_text(head: &[u8]) -> Option<String> {
    // The last character may be cut in two.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() + 4 > head.len() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return None,
    };
    let control = |c: char| c.is_control() && !c.is_whitespace();
    if text.chars().any(control) {
        return None;
    }
    let start = text.trim_start().to_ascii_lowercase();
    let what = if start.starts_with("version https://git-lfs") {
        "it is a Git LFS pointer, not the file itself: run `git lfs pull` in that repository, or \
         download the file from its page"
    } else if ["<!doctype", "<html", "<head", "<?xml", "<error"]
        .iter()
        .any(|tag| start.starts_with(tag))
    {
        "it is a web page, probably the answer of a server to a failed download: open the link in \
         a browser and download the file again"
    } else if start.starts_with('{') || start.starts_with("[{") {
        "it is JSON text, perhaps a configuration or the answer of a server to a failed download"
    } else if looks_like_protocol_0(text) {
        return None;
    } else {
        "it is a text"
    };
    let first: String = text.trim_start().chars().take(60).collect();
    Some(format!(
        "{what} (it begins with {:?}); {EXPECTED}",
        first.lines().next().unwrap_or_default()
    ))
}

/// Protocol 0 is printable: it begins with a container, with the lines of a class, or with the
/// magic number of PyTorch.
fn looks_like_protocol_0(text: &str) -> bool {
    let mut lines = text.split('\n');
    let (first, second) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let named = |name: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        !name.is_empty() && name.chars().all(letter)
    };
    let container = ["(dp", "(lp", "(d", "(l"]
        .iter()
        .any(|start| text.starts_with(start));
    let class = first.strip_prefix('c').is_some_and(named) && named(second);
    (container || class || text.starts_with('L') && text.contains("L\n.")) && text.contains('\n')
}
