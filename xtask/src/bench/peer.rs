//! PyTorch in a process of its own, driven line by line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cases::Case;
use super::memory::Memory;
use super::networks::Network;

/// What both sides compute of an op.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    /// The sum of the output's elements, weighted.
    pub(super) loss: f64,
    /// Each input's gradient, projected on a fixed direction.
    pub(super) gradients: Vec<f64>,
}

/// What PyTorch tells of a network.
#[derive(Debug, Deserialize)]
pub(super) struct Trained {
    /// Losses of each of the first steps.
    pub(super) losses: Vec<Vec<f64>>,
    /// The order of elements in images that is faster.
    pub(super) layout: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Hello {
    Missing {
        missing: String,
    },
    Ready {
        version: String,
        packages: BTreeMap<String, Option<String>>,
    },
}

#[derive(Deserialize)]
struct Time {
    seconds: f64,
}

/// A running `bench/peer.py`, or another script that speaks like it.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Of torch.
    pub(super) version: String,
    /// Versions of further packages, if they are installed.
    pub(super) packages: BTreeMap<String, Option<String>>,
    idle: Idle,
}

/// What each side did while the other one had its turn.
#[derive(Debug, Default)]
struct Idle {
    ours: Share,
    theirs: Share,
}

/// Seconds of processor time within seconds of waiting.
#[derive(Debug, Default)]
struct Share {
    used: f64,
    waited: f64,
}

impl Share {
    fn add(&mut self, used: f64, waited: f64) {
        self.used += used;
        self.waited += waited;
    }

    /// Processors kept busy, on average.
    fn busy(&self) -> f64 {
        self.used / self.waited.max(1e-9)
    }
}

/// An answer, or why PyTorch refuses, and (processor, waited) seconds of the wait before it.
fn parse<T: DeserializeOwned>(line: &str) -> anyhow::Result<(Result<T, String>, (f64, f64))> {
    let garbled = || format!("PyTorch's side answered {line:?}");
    let mut value: Value = serde_json::from_str(line).with_context(garbled)?;
    let waited = match value.as_object_mut().and_then(|o| o.remove("waited")) {
        Some(waited) => serde_json::from_value(waited).with_context(garbled)?,
        None => (0.0, 0.0),
    };
    if let Some(error) = value.get("error").and_then(Value::as_str) {
        return Ok((Err(error.to_string()), waited));
    }
    let answer = serde_json::from_value(value).with_context(garbled)?;
    Ok((Ok(answer), waited))
}

impl Peer {
    /// Starts a script of `bench/`.
    ///
    /// # Errors
    /// When there is no such interpreter, or it lacks torch or numpy.
    pub(super) fn start(python: &str, script: &str, threads: usize) -> anyhow::Result<Self> {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut child = Command::new(python)
            .arg(root.join("bench").join(script))
            .arg(threads.to_string())
            .env("OMP_NUM_THREADS", threads.to_string())
            .env("MKL_NUM_THREADS", threads.to_string())
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
            packages: BTreeMap::new(),
            idle: Idle::default(),
        };
        let hello = peer.line().and_then(|line| parse(&line));
        match hello
            .with_context(|| format!("{python} does not run bench/{script}"))?
            .0
        {
            Ok(Hello::Ready { version, packages }) => {
                (peer.version, peer.packages) = (version, packages);
                Ok(peer)
            }
            Ok(Hello::Missing { missing }) => {
                bail!("{python} lacks the package {missing} (option --python)")
            }
            Err(reason) => bail!(reason),
        }
    }

    /// Of some packages those that are not installed.
    pub(super) fn missing<'a>(&self, packages: &[&'a str]) -> Vec<&'a str> {
        let lacks = |name: &&&str| !matches!(self.packages.get(**name), Some(Some(_)));
        packages.iter().filter(lacks).copied().collect()
    }

    /// Builds an op's tensors, runs it once and tells what came out; or why it cannot.
    pub(super) fn op(&mut self, case: &Case) -> anyhow::Result<Result<Answer, String>> {
        self.ask(&json!({"op": case}))
    }

    /// Builds a network, trains it for a few steps and tells what came out; or why it cannot.
    pub(super) fn network(&mut self, spec: &Network) -> anyhow::Result<Result<Trained, String>> {
        self.ask(&json!({"network": spec}))
    }

    /// The memory of a few training steps; or why there is no number.
    pub(super) fn memory(
        &mut self,
        spec: &Network,
        layout: &str,
        recompute: bool,
        steps: usize,
    ) -> anyhow::Result<Result<Memory, String>> {
        self.ask(&json!({
            "memory": {"spec": spec, "layout": layout, "recompute": recompute, "steps": steps}
        }))
    }

    /// Mean seconds of several runs of what was built last.
    pub(super) fn run(&mut self, times: usize, recompute: bool) -> anyhow::Result<f64> {
        let (used, start) = (processor_seconds(), Instant::now());
        let time = self.ask::<Time>(&json!({"run": {"times": times, "recompute": recompute}}));
        if let Some((before, after)) = used.zip(processor_seconds()) {
            let waited = start.elapsed().as_secs_f64();
            self.idle.ours.add(after - before, waited);
        }
        match time? {
            Ok(time) => Ok(time.seconds),
            Err(reason) => bail!("PyTorch failed while it was measured: {reason}"),
        }
    }

    /// A warning, if one side kept processors busy during the other's turns.
    pub(super) fn disturbance(&self) -> Option<String> {
        const ALLOWED: f64 = 0.05;
        let (ours, theirs) = (self.idle.ours.busy(), self.idle.theirs.busy());
        (ours > ALLOWED || theirs > ALLOWED).then(|| {
            format!(
                "The sides disturbed each other: in PyTorch's turns mic kept {ours:.2} processors \
                 busy, in mic's turns PyTorch {theirs:.2}."
            )
        })
    }

    /// Asks one question; the answer, or why PyTorch refuses.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        question: &Value,
    ) -> anyhow::Result<Result<T, String>> {
        const ENDED: &str = "PyTorch's side has ended; its message is above";
        writeln!(self.input, "{question}").context(ENDED)?;
        self.input.flush().context(ENDED)?;
        let (answer, (used, waited)) = parse(&self.line()?)?;
        self.idle.theirs.add(used, waited);
        Ok(answer)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(anyhow!("PyTorch's side has ended; its message is above")),
            _ => Ok(line),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of this process's threads so far, where the system tells it (Linux).
fn processor_seconds() -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may contain spaces.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() -> anyhow::Result<()> {
        let line = r#"{"loss": 0.5, "gradients": [1, -2.5e-3], "waited": [0.25, 2.0]}"#;
        let (answer, waited) = parse::<Answer>(line)?;
        let answer = answer.map_err(|e| anyhow!(e))?;
        assert_eq!((answer.loss, answer.gradients), (0.5, vec![1.0, -0.0025]));
        assert_eq!(waited, (0.25, 2.0));
        let (answer, _) = parse::<Trained>(r#"{"losses": [[3.0]], "layout": "channels last"}"#)?;
        assert_eq!(answer.map(|t| t.losses), Ok(vec![vec![3.0]]));
        let refusal = parse::<Time>(r#"{"error": "MemoryError: full", "waited": [0, 1]}"#)?;
        assert_eq!(refusal.0.err().as_deref(), Some("MemoryError: full"));
        assert_eq!(refusal.1, (0.0, 1.0));
        Ok(())
    }

    #[test]
    fn what_is_no_answer_is_quoted() {
        for line in ["", "Traceback", r#"{"loss": 1.0}"#, r#"{"loss": NaN}"#] {
            let error = parse::<Answer>(line)
                .map(|_| ())
                .err()
                .map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains(&format!("{line:?}"))));
        }
    }

    #[test]
    fn greetings_are_read() -> anyhow::Result<()> {
        let line = r#"{"version": "2.11", "packages": {"timm": null, "torchvision": "0.26"}}"#;
        let Ok(Hello::Ready { packages, .. }) = parse(line)?.0 else {
            panic!("not ready")
        };
        assert_eq!(packages.get("timm"), Some(&None));
        let Ok(Hello::Missing { missing }) = parse(r#"{"missing": "torch"}"#)?.0 else {
            panic!("nothing is missing")
        };
        assert_eq!(missing, "torch");
        Ok(())
    }

    #[test]
    fn what_is_not_python_is_an_error() {
        for program in ["no-such-python", "true"] {
            let error = Peer::start(program, "peer.py", 1)
                .err()
                .map(|e| format!("{e:#}"));
            assert!(error.is_some_and(|e| e.contains(program)));
        }
    }
}
