//! Processes that speak to each other over TCP alone, on any machine.
//!
//! Rank 0 waits at the launch's address; the others come there once to learn where everybody is.
//! Then every rank holds two connections: one to the next rank and one from the last, a ring. A sum
//! goes around it in pieces: each rank adds its values to the piece that comes and passes it on, so
//! that every piece is added up in one fixed order and its sum is sent to all. With n ranks a rank
//! sends 2 (n - 1) / n times the size of the values.
//!
//! Nothing is encrypted and nobody is asked for a password, as with MPI and NCCL: the machines
//! trust their network.

mod rendezvous;
mod ring;
mod wire;

use std::time::Duration;

pub(super) use self::rendezvous::Place;
use self::ring::Ring;
use super::{Communicator, Launch};
use crate::{Error, Result};

/// The variable that sets [`Patience::silent`], in seconds.
const TIMEOUT: &str = "MIC_TIMEOUT_SECONDS";

/// How long a process waits for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until all have come, at the start.
    pub start: Duration,
    /// For another's next message. Longer than rank 0 needs for an evaluation while the others
    /// wait for it.
    pub silent: Duration,
}

impl Default for Patience {
    /// 5 minutes for the start and 30 minutes for a message.
    fn default() -> Self {
        Self {
            start: Duration::from_secs(300),
            silent: Duration::from_secs(1800),
        }
    }
}

impl Patience {
    /// The default, or `MIC_TIMEOUT_SECONDS` for a message and, if that is less, for the start.
    ///
    /// # Errors
    /// When the variable is no positive number.
    pub fn from_env() -> Result<Self> {
        match std::env::var(TIMEOUT) {
            Ok(seconds) => Self::from_seconds(&seconds),
            Err(_) => Ok(Self::default()),
        }
    }

    fn from_seconds(text: &str) -> Result<Self> {
        let seconds = text.trim().parse::<f64>().ok().filter(|s| *s > 0.0);
        let Some(silent) = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok()) else {
            return Err(Error::Usage(format!(
                "the environment variable {TIMEOUT} is {text:?}, expected a number of seconds \
                 above 0"
            )));
        };
        // The system takes no time-out of less.
        let silent = silent.max(Duration::from_millis(1));
        let start = Self::default().start.min(silent);
        Ok(Self { start, silent })
    }
}

/// The processes of a run in a ring of TCP connections.
pub struct Tcp {
    rank: usize,
    world_size: usize,
    ring: Ring,
}

impl Tcp {
    /// Meets the other processes; returns when all are there.
    ///
    /// # Errors
    /// When `launch` has no address of rank 0 or is a single process; when the port is taken; when
    /// some process has not come in time (the message of rank 0 names them), or belongs to another
    /// job or version.
    pub fn connect(launch: &Launch, patience: Patience) -> Result<Self> {
        Self::connect_at(&Place::of(launch)?, launch, patience)
    }

    pub(super) fn connect_at(place: &Place, launch: &Launch, patience: Patience) -> Result<Self> {
        let links = rendezvous::meet(place, launch, patience)?;
        Ok(Self {
            rank: launch.rank,
            world_size: launch.world_size,
            ring: Ring::new(links, launch.rank, launch.world_size, patience.silent)?,
        })
    }
}

impl Communicator for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        self.ring.all_reduce(values)
    }

    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()> {
        self.ring.all_reduce(values)
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        self.ring.broadcast(bytes)
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.ring.all_gather(bytes)
    }
}

#[cfg(test)]
mod tests;
