//! A Hub of one's own: a small HTTP server that plays it, with faults on demand.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

pub mod program;

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The commit that branch `main` is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, these further headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// So many bytes, then silence.
    Stall(usize),
    /// One byte is another.
    Corrupt,
    /// The whole file in place of the part that was asked for.
    WholeFile,
    /// Headers without what makes a Hub.
    Foreign,
    /// No fault.
    None,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct State {
    /// By `owner/name/file`.
    files: HashMap<String, Vec<u8>>,
    /// By SHA-256.
    contents: HashMap<String, Vec<u8>>,
    /// Old repository, new repository.
    renamed: HashMap<String, String>,
    /// Faults of the answers to questions about files, one after the other.
    heads: VecDeque<Fault>,
    /// Faults of the answers with bytes.
    bodies: VecDeque<Fault>,
    log: Vec<Request>,
    /// Wait after every so many bytes of a body.
    slow: Option<(usize, Duration)>,
}

/// The server.
#[derive(Clone)]
pub struct Hub {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

pub fn sha256(bytes: &[u8]) -> String {
    let digits = Sha256::digest(bytes);
    digits.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that look like nothing.
pub fn noise(count: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..count).map(|_| next()).collect()
}

impl Hub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hub = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::default(),
        };
        let served = hub.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let served = served.clone();
                // Whoever asked may be gone.
                thread::spawn(move || drop(served.serve(stream.unwrap())));
            }
        });
        hub
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Puts a file into a repository; returns its SHA-256.
    pub fn put(&self, repository: &str, file: &str, bytes: &[u8]) -> String {
        let sha256 = sha256(bytes);
        let mut state = self.state.lock().unwrap();
        let key = format!("{repository}/{file}");
        state.files.insert(key, bytes.to_vec());
        state.contents.insert(sha256.clone(), bytes.to_vec());
        sha256
    }

    pub fn rename(&self, old: &str, new: &str) {
        let mut state = self.state.lock().unwrap();
        state.renamed.insert(old.into(), new.into());
    }

    /// Faults of the next answers to questions about files.
    pub fn heads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().heads.extend(faults);
    }

    /// Faults of the next answers with bytes.
    pub fn bodies(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().bodies.extend(faults);
    }

    pub fn slow(&self, bytes: usize, wait: Duration) {
        self.state.lock().unwrap().slow = Some((bytes, wait));
    }

    pub fn fast(&self) {
        self.state.lock().unwrap().slow = None;
    }

    /// What has been asked since the last time.
    pub fn log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let request = read(&stream)?;
        self.state.lock().unwrap().log.push(request.clone());
        // Asked as a proxy, the address is a whole one.
        let path = match request.path.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => request.path.trim_start_matches('/'),
        };
        match path.strip_prefix("cdn/") {
            Some(sha256) => self.content(&mut stream, &request, sha256),
            None => self.resolve(&mut stream, &request, path),
        }
    }

    /// What the Hub says of a file, and where its bytes are.
    fn resolve(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        path: &str,
    ) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let fault = match request.method.as_str() {
            "HEAD" => state.heads.pop_front().unwrap_or(Fault::None),
            _ => Fault::None,
        };
        match fault {
            Fault::Status(status, headers) => return answer(stream, status, &headers, b""),
            Fault::Foreign => return answer(stream, 200, &[], b"<html>log in</html>"),
            _ => (),
        }
        let not_found = |stream: &mut TcpStream, code: &str| {
            answer(stream, 404, &[("X-Error-Code", code.to_owned())], b"")
        };
        let Some((repository, rest)) = path.split_once("/resolve/") else {
            return not_found(stream, "RepoNotFound");
        };
        if let Some(new) = state.renamed.get(repository) {
            let place = [("Location", format!("/{new}/resolve/{rest}"))];
            return answer(stream, 307, &place, b"");
        }
        if !state
            .files
            .keys()
            .any(|key| key.starts_with(&format!("{repository}/")))
        {
            return not_found(stream, "RepoNotFound");
        }
        let (revision, file) = rest.split_once('/').unwrap();
        if revision != "main" && revision != COMMIT {
            return not_found(stream, "RevisionNotFound");
        }
        let Some(bytes) = state.files.get(&format!("{repository}/{file}")) else {
            return not_found(stream, "EntryNotFound");
        };
        let sha256 = sha256(bytes);
        // Another host name, as the servers of the bytes have.
        let place = format!("http://localhost:{}/cdn/{sha256}", self.port);
        let headers = [
            ("X-Repo-Commit", COMMIT.to_owned()),
            ("X-Linked-Size", bytes.len().to_string()),
            ("X-Linked-Etag", format!("\"{sha256}\"")),
            ("ETag", "\"of-the-pointer\"".to_owned()),
            ("Location", place),
        ];
        drop(state);
        answer(stream, 302, &headers, b"")
    }

    fn content(
        &self,
        stream: &mut TcpStream,
        request: &Request,
        sha256: &str,
    ) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let Some(bytes) = state.contents.get(sha256).cloned() else {
            return answer(stream, 404, &[], b"");
        };
        let head = request.method == "HEAD";
        let fault = match head {
            true => Fault::None,
            false => state.bodies.pop_front().unwrap_or(Fault::None),
        };
        let slow = state.slow;
        drop(state);
        if let Fault::Status(status, headers) = &fault {
            return answer(stream, *status, headers, b"");
        }
        let asked = request
            .header("range")
            .filter(|_| !matches!(fault, Fault::WholeFile));
        let start = asked.map(|range| {
            let range = range.strip_prefix("bytes=").unwrap();
            range.split_once('-').unwrap().0.parse::<usize>().unwrap()
        });
        let mut body = bytes[start.unwrap_or(0).min(bytes.len())..].to_vec();
        let mut text = match start {
            Some(start) if start >= bytes.len() => "HTTP/1.1 416 Range\r\n".to_owned(),
            Some(start) => format!(
                "HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{}/{}\r\n",
                bytes.len() - 1,
                bytes.len()
            ),
            None => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        text += &format!(
            "Content-Length: {}\r\nAccept-Ranges: bytes\r\nETag: \"cdn\"\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(text.as_bytes())?;
        if head {
            return Ok(());
        }
        match fault {
            Fault::Cut(count) => body.truncate(count),
            Fault::Corrupt => {
                let middle = body.len() / 2;
                body[middle] ^= 1;
            }
            Fault::Stall(count) => {
                stream.write_all(&body[..count])?;
                thread::sleep(Duration::from_secs(20));
            }
            _ => (),
        }
        let (piece, wait) = slow.unwrap_or((body.len().max(1), Duration::ZERO));
        for piece in body.chunks(piece) {
            stream.write_all(piece)?;
            thread::sleep(wait);
        }
        Ok(())
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Request {
        method,
        path,
        headers,
    })
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} Status\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!(
        "Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    stream.write_all(body)
}
