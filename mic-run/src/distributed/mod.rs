//! One run in several processes.
//!
//! Every process (rank) has the whole network and an equal share of each batch; the gradients are
//! averaged, so that all ranks take the same step. With n ranks and n times smaller shares the
//! numbers are those of one process with the whole batch, to rounding, for everything whose loss is
//! a mean over the batch.
//!
//! # Starting
//!
//! An existing launcher starts the processes and tells each its place through the environment,
//! which [`Launch::from_env`] reads:
//!
//! ```text
//! torchrun --no-python --nproc-per-node 4 PROGRAM train ...
//! mpirun -n 4 PROGRAM train ...
//! srun --ntasks 4 --gpus 4 PROGRAM train ...
//! ```
//!
//! or by hand, one process a terminal:
//!
//! ```text
//! export MASTER_ADDR=localhost MASTER_PORT=29500 WORLD_SIZE=2
//! RANK=0 LOCAL_RANK=0 PROGRAM train ...
//! RANK=1 LOCAL_RANK=1 PROGRAM train ...
//! ```
//!
//! | launcher | rank, number of processes, number on the machine | rank 0's address, port |
//! | --- | --- | --- |
//! | torchrun, by hand | `RANK`, `WORLD_SIZE`, `LOCAL_RANK` | `MASTER_ADDR`, `MASTER_PORT` |
//! | Open MPI | `OMPI_COMM_WORLD_RANK`, `_SIZE`, `_LOCAL_RANK` | the same two if set; else this machine where all processes are on it |
//! | `mpiexec` with PMI | `PMI_RANK`, `PMI_SIZE`, `MPI_LOCALRANKID` | likewise |
//! | `srun` | `SLURM_PROCID`, `SLURM_STEP_NUM_TASKS`, `SLURM_LOCALID` | the same two if set; else the step's first machine |
//!
//! Where `MASTER_PORT` is not set, the port follows from the launcher's name of the job. Below
//! torchrun, whose own store sits on `MASTER_PORT`, it is the port after it. A process without any
//! of these variables is alone.
//!
//! # Backends
//!
//! [`connect`] makes a [`Communicator`]: [`Tcp`] needs nothing; `Mpi` (feature `mpi`) needs Open
//! MPI's development files and libclang when the program is built (Debian: `libopenmpi-dev
//! openmpi-bin libclang-dev`) and uses its fast networks; `Nccl` (feature `nccl`) needs CUDA and
//! NCCL. NCCL's part
//! is type-checked, but has not been run on GPUs yet.
//!
//! A process that ends, or is silent for longer than `MIC_TIMEOUT_SECONDS` (default 1800), ends the
//! others with an error that names it; MPI ends all processes itself.
//!
//! # A step
//!
//! ```text
//! at the start:  broadcast_store(student), broadcast_store(teacher), same_everywhere(configuration)
//! draws:         shard(step * batch .. (step + 1) * batch, rank, world_size)
//! backward:      grads.accumulate(...) for every loss
//! averaging:     average(&mut grads, communicator, BUCKET_BYTES)
//! then:          communicator.any(signal or a loss that is not finite): all stop, or skip, or none
//!                clip, optimizer.step, teacher.update: the same on every rank
//! ```
//!
//! Rank 0 alone writes the run folder and measures; the others wait at the next call. Losses for
//! the log are [`mean`]s over the ranks.
//!
//! # What stays with a rank
//!
//! - The running statistics of batch norm are each rank's own, from its own share, and rank 0's are
//!   saved, as with PyTorch's `DistributedDataParallel`; the batch statistics are those of the share.
//!   Networks with batch norm therefore do not equal one process with the whole batch.
//! - Random streams are functions of the seed and the step: where draws within a step depend on the
//!   image, they have to be derived from the draw's number, and where all ranks need the same (such
//!   as a class mask shared by the batch) from the step.

mod average;
mod communicator;
mod connect;
mod launch;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod shard;
mod tcp;
mod tensors;

#[cfg(feature = "mpi")]
pub use self::mpi::Mpi;
#[cfg(feature = "nccl")]
pub use self::nccl::Nccl;
pub use average::{BUCKET_BYTES, average};
pub use communicator::{Communicator, Single};
pub use connect::{Backend, connect};
pub use launch::{Launch, Launcher};
pub use shard::shard;
pub use tcp::{Patience, Tcp};
pub use tensors::{broadcast_store, mean, same_everywhere};
