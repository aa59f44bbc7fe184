//! PyTorch in a process of its own, driven line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, anyhow};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::cases::Case;

/// What both sides compute of a case.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The sum of the output's elements, weighted.
    pub(super) loss: f64,
    /// Each input's gradient, projected on a fixed direction.
    pub(super) gradients: Vec<f64>,
}

#[derive(Deserialize)]
struct Hello {
    version: String,
}

#[derive(Deserialize)]
struct Time {
    seconds: f64,
}

/// A running `bench/peer.py`.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(super) version: String,
}

impl Peer {
    /// Starts the script.
    pub(super) fn start(python: &str, threads: usize) -> anyhow::Result<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = Command::new(python)
            .arg(root.join("bench/peer.py"))
            .arg(threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            // Threads that wait must leave the processors to the other side.
            .env("OMP_WAIT_POLICY", "PASSIVE")
            .env("KMP_BLOCKTIME", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{python} could not be started (option --python)"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.context("no pipes to Python")?;
        let mut peer = Self {
            child,
            input,
            output: BufReader::new(output),
            version: String::new(),
        };
        let hello: Hello = peer
            .answer()
            .with_context(|| format!("{python} needs the packages torch and numpy"))?;
        peer.version = hello.version;
        Ok(peer)
    }

    /// Builds the case's tensors, runs it once and tells what came out.
    pub(super) fn prepare(&mut self, case: &Case) -> anyhow::Result<Answer> {
        self.ask(&json!({"prepare": case}))
    }

    /// Seconds of one forward and backward pass of the prepared case.
    pub(super) fn run(&mut self) -> anyhow::Result<f64> {
        let time: Time = self.ask(&json!({"run": true}))?;
        Ok(time.seconds)
    }

    fn ask<T: DeserializeOwned>(&mut self, question: &serde_json::Value) -> anyhow::Result<T> {
        writeln!(self.input, "{question}").context("bench/peer.py has ended")?;
        self.input.flush().context("bench/peer.py has ended")?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(anyhow!("bench/peer.py has ended; its message is above"));
        }
        serde_json::from_str(&line).with_context(|| format!("bench/peer.py answered {line:?}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
