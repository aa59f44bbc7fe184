//! Bringing the bytes of one file, through broken connections.

use std::time::Duration;

use futures::StreamExt;

use crate::hub::{Hub, Remote};
use crate::manifest::HubFile;
use crate::partial::Partial;
use crate::{Error, Result, Settings};

/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// What happens in a download.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something that a person may want to know.
    Note(String),
    /// The download of a file begins, or begins anew: bytes there and in all.
    Begin(String, u64, u64),
    /// Bytes that are there now.
    At(u64),
    /// The file is whole.
    End,
}

/// Hears of a download.
pub type Watch<'a> = &'a (dyn Fn(Event) + 'a);

/// Counts tries that bring nothing, and waits between them.
pub(crate) struct Tries<'a> {
    settings: &'a Settings,
    watch: Watch<'a>,
    failed: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(settings: &'a Settings, watch: Watch<'a>) -> Self {
        Self {
            settings,
            watch,
            failed: 0,
        }
    }

    /// Waits before the next try, or gives `error` back if there is none: it will not pass, or too
    /// many tries have failed.
    pub(crate) async fn after(&mut self, error: Error) -> Result<()> {
        self.failed += 1;
        if !error.passes() || self.failed >= self.settings.attempts {
            return Err(error);
        }
        let doubled = self
            .settings
            .pause
            .saturating_mul(1 << (self.failed - 1).min(16));
        let mut wait = doubled.min(LONGEST);
        if let Error::TooMany {
            wait: Some(asked), ..
        } = &error
        {
            if *asked > LONGEST {
                return Err(error);
            }
            wait = wait.max(*asked);
        }
        (self.watch)(Event::Note(format!(
            "{error}\ntrying again in {:.1} s ({} of {})",
            wait.as_secs_f64(),
            self.failed + 1,
            self.settings.attempts
        )));
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn succeeded(&mut self) {
        self.failed = 0;
    }
}

/// Why the bytes ended.
enum End {
    /// All are there.
    Whole,
    /// The connection broke.
    Broken(String),
    /// More came than the file has: a server that sends the whole file when asked for its end.
    TooMany,
}

/// Fills `partial` with the bytes that are missing.
///
/// # Errors
/// Those of the Hub and of the disk; [`Error::Truncated`] if the connection breaks again and again,
/// in which case what came is kept.
pub(crate) async fn fill(
    hub: &Hub,
    settings: &Settings,
    file: &HubFile,
    remote: &Remote,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<()> {
    let mut tries = Tries::new(settings, watch);
    while partial.missing() > 0 {
        let before = partial.length();
        watch(Event::Begin(file.to_string(), before, remote.size));
        let end = match once(hub, file, remote, partial, watch).await {
            Ok(end) => end,
            // Nothing from there on: the rest of another content, or a server without ranges.
            Err(Error::Refused { status: 416, .. }) if before > 0 => End::TooMany,
            Err(error) => {
                tries.after(error).await?;
                continue;
            }
        };
        let reason = match end {
            End::Whole => break,
            End::Broken(reason) => reason,
            End::TooMany => {
                partial.restart()?;
                "the server sent more bytes than were asked for".into()
            }
        };
        if partial.length() > before {
            tries.succeeded();
        }
        let url = format!("{}/{}", settings.endpoint, file.repository);
        let broken = Error::Unreachable {
            url,
            reason: reason.clone(),
            proxy: settings.proxy.clone(),
        };
        if tries.after(broken).await.is_err() {
            return Err(Error::Truncated {
                file: file.to_string(),
                got: partial.length(),
                size: remote.size,
                attempts: settings.attempts,
                reason,
            });
        }
    }
    watch(Event::End);
    Ok(())
}

async fn once(
    hub: &Hub,
    file: &HubFile,
    remote: &Remote,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<End> {
    let mut stream = hub.bytes(file, remote, partial.length()).await?;
    while let Some(bytes) = stream.next().await {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Ok(End::Broken(hub.error(file, error).cause())),
        };
        if !partial.add(bytes.as_ref())? {
            return Ok(End::TooMany);
        }
        watch(Event::At(partial.length()));
    }
    Ok(match partial.missing() {
        0 => End::Whole,
        missing => End::Broken(format!("the connection was closed {missing} bytes early")),
    })
}
