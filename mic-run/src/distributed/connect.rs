//! Choosing how the processes speak to each other.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use super::tcp::{Patience, Tcp};
use super::{Communicator, Launch, Launcher, Single};
use crate::{Error, Result};

/// How the processes of a run speak to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// NCCL on GPUs where the program has it, MPI below `mpirun` where the program has it, and TCP
    /// otherwise.
    #[default]
    Auto,
    /// Plain TCP, everywhere.
    Tcp,
    /// MPI (feature `mpi`), below `mpirun` or an `srun` that knows the MPI library.
    Mpi,
    /// NCCL between GPUs (feature `nccl`), whose processes find each other over TCP.
    Nccl,
}

impl Backend {
    /// What [`Backend::Auto`] stands for.
    fn resolve(self, launcher: Launcher, device: &Device) -> Self {
        match self {
            Self::Auto if cfg!(feature = "nccl") && device.is_cuda() => Self::Nccl,
            Self::Auto if cfg!(feature = "mpi") && launcher == Launcher::OpenMpi => Self::Mpi,
            Self::Auto => Self::Tcp,
            other => other,
        }
    }
}

/// Connects the processes of a launch; a single one is connected already.
///
/// `device` is where this process trains.
///
/// # Errors
/// When the program was built without the backend, or the processes do not come together; see
/// [`Tcp::connect`].
pub fn connect(
    launch: &Launch,
    backend: Backend,
    device: &Device,
) -> Result<Box<dyn Communicator>> {
    if launch.world_size == 1 {
        return Ok(Box::new(Single));
    }
    match backend.resolve(launch.launcher, device) {
        Backend::Mpi => mpi(launch),
        Backend::Nccl => nccl(launch, device),
        Backend::Auto | Backend::Tcp => Ok(Box::new(Tcp::connect(launch, Patience::from_env()?)?)),
    }
}

#[cfg(feature = "mpi")]
fn mpi(launch: &Launch) -> Result<Box<dyn Communicator>> {
    Ok(Box::new(super::Mpi::connect(launch)?))
}

#[cfg(not(feature = "mpi"))]
fn mpi(_: &Launch) -> Result<Box<dyn Communicator>> {
    Err(absent("mpi"))
}

#[cfg(feature = "nccl")]
fn nccl(launch: &Launch, device: &Device) -> Result<Box<dyn Communicator>> {
    let host = Box::new(Tcp::connect(launch, Patience::from_env()?)?);
    Ok(Box::new(super::Nccl::connect(host, device)?))
}

#[cfg(not(feature = "nccl"))]
fn nccl(_: &Launch, _: &Device) -> Result<Box<dyn Communicator>> {
    Err(absent("nccl"))
}

#[cfg(not(all(feature = "mpi", feature = "nccl")))]
fn absent(feature: &str) -> Error {
    Error::Usage(format!(
        "this program was built without {feature}: build it with `--features {feature}`, or \
         choose tcp"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_needs_no_backend() {
        let single = Launch::single();
        let communicator = connect(&single, Backend::Nccl, &Device::Cpu).unwrap();
        assert_eq!(communicator.world_size(), 1);
    }

    #[test]
    fn a_missing_backend_or_address_is_named() {
        let launch = Launch {
            world_size: 2,
            launcher: Launcher::Pmi,
            ..Launch::single()
        };
        let message = |backend| match connect(&launch, backend, &Device::Cpu) {
            Ok(_) => panic!("connected"),
            Err(error) => error.to_string(),
        };
        assert!(message(Backend::Tcp).contains("set MASTER_ADDR"));
        if cfg!(not(feature = "nccl")) {
            assert!(message(Backend::Nccl).contains("`--features nccl`"));
        }
        if cfg!(not(feature = "mpi")) {
            assert!(message(Backend::Mpi).contains("`--features mpi`"));
        }
    }
}
