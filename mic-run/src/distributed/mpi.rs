//! Processes that speak to each other over MPI.
//!
//! Open MPI's errors end all processes of the job at once and say why; there are no time-outs.
//! Its sums are the same on all ranks and from run to run as long as the number of ranks and their
//! machines stay (the standard recommends this, and its usual algorithms keep to it).

use mpi::collective::SystemOperation;
use mpi::datatype::{Equivalence, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives, Root};
use mpi::{Count, Threading};

use super::{Communicator, Launch};
use crate::{Error, Result};

/// Values a call: MPI counts in 32 bits.
const VALUES: usize = 1 << 28;

/// The processes that one `mpirun` has started.
pub struct Mpi {
    world: SimpleCommunicator,
    /// Ends MPI when it is dropped.
    _universe: Universe,
    finished: bool,
}

impl Mpi {
    /// Starts MPI, on the thread that will make all calls.
    ///
    /// # Errors
    /// When MPI was started before in this process, or its library and the launcher differ about
    /// the number of processes.
    pub fn connect(launch: &Launch) -> Result<Self> {
        let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else {
            return Err(Error::Run(
                "MPI has been started in this process already".to_owned(),
            ));
        };
        let world = universe.world();
        let mut mpi = Self {
            world,
            _universe: universe,
            finished: true,
        };
        let found = (mpi.rank(), mpi.world_size());
        if found != (launch.rank, launch.world_size) {
            return Err(Error::Usage(format!(
                "the MPI library counts this process as rank {} of {}, {} as rank {} of {}: use \
                 the mpirun that belongs to the MPI library that the program was built with",
                found.0, found.1, launch.launcher, launch.rank, launch.world_size
            )));
        }
        mpi.finished = false;
        Ok(mpi)
    }

    fn all_reduce<T: Equivalence + Copy>(&mut self, values: &mut [T]) {
        for values in values.chunks_mut(VALUES) {
            let own = values.to_vec();
            let sum = SystemOperation::sum();
            self.world.all_reduce_into(&own[..], values, sum);
        }
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).unwrap_or(0)
    }

    fn world_size(&self) -> usize {
        usize::try_from(self.world.size()).unwrap_or(1)
    }

    fn all_reduce_f32(&mut self, values: &mut [f32]) -> Result<()> {
        self.all_reduce(values);
        Ok(())
    }

    fn all_reduce_f64(&mut self, values: &mut [f64]) -> Result<()> {
        self.all_reduce(values);
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let root = self.world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        let length = usize::try_from(length)
            .map_err(|_| Error::Run(format!("{length} bytes do not fit into this process")))?;
        bytes.resize(length, 0);
        for bytes in bytes.chunks_mut(VALUES) {
            root.broadcast_into(bytes);
        }
        Ok(())
    }

    fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        // One byte more: the address of an empty slice can be MPI's mark for "in place".
        let own = [bytes, &[0]].concat();
        let mut lengths = vec![0u64; self.world_size()];
        self.world
            .all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let total: u64 = lengths.iter().sum();
        if Count::try_from(total).is_err() {
            return Err(Error::Run(format!(
                "{total} bytes are too many to be gathered from all processes"
            )));
        }
        // The sum fits, so do its parts.
        let counts: Vec<Count> = lengths.iter().map(|l| *l as Count).collect();
        let starts: Vec<Count> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end - count)
            })
            .collect();
        let mut all = vec![0u8; total as usize];
        let mut parts = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        self.world.all_gather_varcount_into(&own[..], &mut parts);
        let mut rest = &all[..];
        let part = |length: &u64| {
            let (part, others) = rest.split_at(*length as usize);
            rest = others;
            part[..part.len() - 1].to_vec()
        };
        Ok(lengths.iter().map(part).collect())
    }

    fn barrier(&mut self) -> Result<()> {
        self.world.barrier();
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.world.barrier();
        self.finished = true;
        Ok(())
    }

    fn abort(&mut self, code: i32) -> ! {
        self.world.abort(code)
    }
}

impl Drop for Mpi {
    /// The regular end of MPI waits for all ranks: one that fails must not come to it.
    fn drop(&mut self) {
        if !self.finished {
            self.world.abort(1);
        }
    }
}
