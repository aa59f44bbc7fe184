//! What the launcher told this process through its environment.

use std::fmt;

use crate::{Error, Result};

/// The launcher whose variables were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// None: one process.
    None,
    /// `RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`, as torchrun sets them.
    Torchrun,
    /// Open MPI's `mpirun`: `OMPI_COMM_WORLD_*`.
    OpenMpi,
    /// MPICH's or Intel MPI's `mpiexec`, or `srun --mpi=pmi2`: `PMI_RANK`, `PMI_SIZE`.
    Pmi,
    /// SLURM's `srun`: `SLURM_PROCID`, `SLURM_STEP_NUM_TASKS`, `SLURM_LOCALID`.
    Slurm,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no launcher",
            Self::Torchrun => "torchrun's variables",
            Self::OpenMpi => "Open MPI's mpirun",
            Self::Pmi => "mpiexec (PMI)",
            Self::Slurm => "srun",
        })
    }
}

/// This process's place among the processes of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// From 0 to `world_size` - 1. Rank 0 writes the run folder.
    pub rank: usize,
    /// Number of processes.
    pub world_size: usize,
    /// Number of the process on its machine: it chooses the GPU.
    pub local_rank: usize,
    /// Machine on which rank 0 can be reached: a name or an address. Absent where the launcher
    /// does not tell it.
    pub master_addr: Option<String>,
    /// TCP port on which rank 0 waits for the others.
    pub master_port: u16,
    /// What tells this run from others on the same machines; empty where the launcher has no name
    /// for it.
    pub job: String,
    /// Whose variables these were.
    pub launcher: Launcher,
}

impl Launch {
    /// One process.
    pub fn single() -> Self {
        Self {
            rank: 0,
            world_size: 1,
            local_rank: 0,
            master_addr: None,
            master_port: DEFAULT_PORT,
            job: String::new(),
            launcher: Launcher::None,
        }
    }

    /// Reads this process's environment; see the [module](crate::distributed) for the variables.
    ///
    /// # Errors
    /// Names the variable that is missing or is no number, or the two that contradict each other,
    /// and the mend.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Does the same with another source of variables.
    ///
    /// # Errors
    /// As [`Launch::from_env`].
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = Env(&variable);
        // The innermost launcher first: torchrun may run below srun, mpirun within a SLURM job.
        let launch = if env.has("RANK") || env.has("WORLD_SIZE") {
            torchrun(&env)?
        } else if env.has("OMPI_COMM_WORLD_RANK") || env.has("OMPI_COMM_WORLD_SIZE") {
            open_mpi(&env)?
        } else if env.has("PMI_RANK") || env.has("PMI_SIZE") {
            pmi(&env)?
        } else if env.has("SLURM_STEP_NUM_TASKS") {
            slurm(&env)?
        } else {
            Self::single()
        };
        launch.check()?;
        launch.agrees_with_outer(&env)?;
        Ok(launch)
    }

    /// Whether this process writes the run folder and speaks to the terminal.
    pub fn is_main(&self) -> bool {
        self.rank == 0
    }

    /// The GPU of this process where it can see `visible` of them: the local rank, or the only one
    /// where the launcher shows each process its own.
    ///
    /// # Errors
    /// When there are more processes than GPUs.
    pub fn gpu(&self, visible: usize) -> Result<usize> {
        match visible {
            0 => Err(Error::Usage(
                "no GPU is visible to this process: ask the scheduler for one, or train on the CPU"
                    .to_owned(),
            )),
            1 => Ok(0),
            n if self.local_rank < n => Ok(self.local_rank),
            n => Err(Error::Usage(format!(
                "process {} of this machine has no GPU: {n} are visible; start at most {n} \
                 processes a machine, or ask for more GPUs",
                self.local_rank
            ))),
        }
    }

    fn check(&self) -> Result<()> {
        let Self {
            rank, world_size, ..
        } = self;
        if rank >= world_size {
            return Err(Error::Usage(format!(
                "{} gives rank {rank} of {world_size} processes; ranks run from 0 to the number \
                 of processes - 1",
                self.launcher
            )));
        }
        if self.local_rank > self.rank {
            return Err(Error::Usage(format!(
                "{} gives rank {rank}, but number {} on its machine, which cannot be larger",
                self.launcher, self.local_rank
            )));
        }
        Ok(())
    }

    /// Variables exported by hand that contradict the launcher would make every process believe
    /// that it is rank 0, or alone. An inner launcher may only add processes.
    fn agrees_with_outer(&self, env: &Env<'_>) -> Result<()> {
        if self.launcher != Launcher::Torchrun || env.has("TORCHELASTIC_RUN_ID") {
            return Ok(());
        }
        let outer = if env.has("OMPI_COMM_WORLD_RANK") {
            ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"]
        } else if env.has("SLURM_STEP_NUM_TASKS") {
            ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS"]
        } else {
            return Ok(());
        };
        let (rank, size) = (env.need(outer[0])?, env.need(outer[1])?);
        if self.world_size > size || (self.world_size, self.rank) == (size, rank) {
            return Ok(());
        }
        let [rank_name, size_name] = outer;
        Err(Error::Usage(format!(
            "RANK={} and WORLD_SIZE={} contradict {rank_name}={rank} and {size_name}={size}: unset \
             RANK and WORLD_SIZE, or set them to the launcher's values",
            self.rank, self.world_size
        )))
    }
}

/// PyTorch's.
const DEFAULT_PORT: u16 = 29500;

/// A port that all processes of a job work out alike, so that two jobs of one machine rarely meet.
/// Below Linux's ephemeral ports.
fn port_of_job(job: &str) -> u16 {
    if job.is_empty() {
        return DEFAULT_PORT;
    }
    let hash = crc32fast::hash(job.as_bytes()) % 10_000;
    20_000 + hash as u16
}

fn torchrun(env: &Env<'_>) -> Result<Launch> {
    let set = "RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT";
    let need = |name: &str, hint: &str| match env.number(name)? {
        Some(number) => Ok(number),
        None => Err(Error::Usage(format!(
            "{name} is missing in the environment, while others of {set} are set: {hint}"
        ))),
    };
    let together = "set all of them, or none for a single process";
    let (rank, world_size) = (need("RANK", together)?, need("WORLD_SIZE", together)?);
    let hint = "set it to the process's number on its machine (0 with one process a machine)";
    let local_rank = match world_size {
        1 => env.number("LOCAL_RANK")?.unwrap_or(0),
        _ => need("LOCAL_RANK", hint)?,
    };
    let master_addr = env.text("MASTER_ADDR");
    let port = env.port()?;
    if world_size > 1 && (master_addr.is_none() || port.is_none()) {
        let name = ["MASTER_PORT", "MASTER_ADDR"][usize::from(master_addr.is_none())];
        return Err(Error::Usage(format!(
            "{name} is missing in the environment, while others of {set} are set: set it to where \
             rank 0 can be reached"
        )));
    }
    let port = port.unwrap_or(DEFAULT_PORT);
    // torchrun's own store may sit on the port already.
    let taken = env.text("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True");
    Ok(Launch {
        rank,
        world_size,
        local_rank,
        master_addr,
        master_port: if taken {
            port.wrapping_add(1).max(1)
        } else {
            port
        },
        job: env.text("TORCHELASTIC_RUN_ID").unwrap_or_default(),
        launcher: Launcher::Torchrun,
    })
}

fn open_mpi(env: &Env<'_>) -> Result<Launch> {
    let world_size = env.need("OMPI_COMM_WORLD_SIZE")?;
    let together = env.number("OMPI_COMM_WORLD_LOCAL_SIZE")? == Some(world_size);
    let job = env.text("PMIX_NAMESPACE").unwrap_or_default();
    Ok(Launch {
        rank: env.need("OMPI_COMM_WORLD_RANK")?,
        world_size,
        local_rank: env.need("OMPI_COMM_WORLD_LOCAL_RANK")?,
        master_addr: env.master(together),
        master_port: env.port()?.unwrap_or(port_of_job(&job)),
        job,
        launcher: Launcher::OpenMpi,
    })
}

fn pmi(env: &Env<'_>) -> Result<Launch> {
    let (rank, world_size) = (env.need("PMI_RANK")?, env.need("PMI_SIZE")?);
    // Below srun, SLURM counts the processes of a machine; below mpiexec it counts the machines.
    let in_step = env.number("SLURM_PROCID")? == Some(rank)
        && env.number("SLURM_STEP_NUM_TASKS")? == Some(world_size);
    let local_rank = match env.number("MPI_LOCALRANKID")? {
        Some(local) => local,
        None if in_step => env.need("SLURM_LOCALID")?,
        None if world_size == 1 => 0,
        None => env.need("MPI_LOCALRANKID")?,
    };
    let together = env.number("MPI_LOCALNRANKS")? == Some(world_size);
    let job = if in_step { env.step() } else { String::new() };
    Ok(Launch {
        rank,
        world_size,
        local_rank,
        master_addr: env.master(together).or_else(|| env.first_node()),
        master_port: env.port()?.unwrap_or(port_of_job(&job)),
        job,
        launcher: Launcher::Pmi,
    })
}

/// In a batch script outside `srun`, SLURM sets `SLURM_PROCID` too, but not the step's size.
fn slurm(env: &Env<'_>) -> Result<Launch> {
    let job = env.step();
    Ok(Launch {
        rank: env.need("SLURM_PROCID")?,
        world_size: env.need("SLURM_STEP_NUM_TASKS")?,
        local_rank: env.need("SLURM_LOCALID")?,
        master_addr: env.master(false).or_else(|| env.first_node()),
        master_port: env.port()?.unwrap_or(port_of_job(&job)),
        job,
        launcher: Launcher::Slurm,
    })
}

struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    /// A variable that is set to nothing counts as unset.
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    fn number(&self, name: &str) -> Result<Option<usize>> {
        let Some(value) = self.text(name) else {
            return Ok(None);
        };
        let number = value.trim().parse().map_err(|_| {
            Error::Usage(format!(
                "the environment variable {name} is {value:?}, expected a whole number from 0"
            ))
        })?;
        Ok(Some(number))
    }

    fn need(&self, name: &str) -> Result<usize> {
        self.number(name)?.ok_or_else(|| {
            Error::Usage(format!(
                "the launcher's environment variable {name} is missing, while others of its set \
                 are there: start the program through the launcher itself, or unset them for a \
                 single process"
            ))
        })
    }

    fn port(&self) -> Result<Option<u16>> {
        let Some(value) = self.text("MASTER_PORT") else {
            return Ok(None);
        };
        match value.trim().parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(Error::Usage(format!(
                "the environment variable MASTER_PORT is {value:?}, expected a TCP port from 1 to \
                 65535"
            ))),
        }
    }

    /// `MASTER_ADDR`, or this machine where all processes are `together` on it.
    fn master(&self, together: bool) -> Option<String> {
        let here = || together.then(|| "127.0.0.1".to_owned());
        self.text("MASTER_ADDR").or_else(here)
    }

    fn step(&self) -> String {
        let part = |name| self.text(name).unwrap_or_default();
        format!("{}.{}", part("SLURM_JOB_ID"), part("SLURM_STEP_ID"))
    }

    /// The first machine of the SLURM step, on which rank 0 runs unless tasks are distributed in
    /// an arbitrary way.
    fn first_node(&self) -> Option<String> {
        let list = self
            .text("SLURM_STEP_NODELIST")
            .or_else(|| self.text("SLURM_JOB_NODELIST"))?;
        first_host(&list)
    }
}

/// The first of SLURM's compressed host names: `gpu[003-005,9],cpu1` begins with `gpu003`.
fn first_host(list: &str) -> Option<String> {
    let end = list.find([',', '[']).unwrap_or(list.len());
    let (prefix, rest) = list.split_at(end);
    let host = match rest.strip_prefix('[') {
        None => prefix.to_owned(),
        Some(inner) => {
            let (inner, after) = inner.split_once(']')?;
            let number = inner.split([',', '-']).next()?;
            let suffix = first_host(after).unwrap_or_default();
            format!("{prefix}{number}{suffix}")
        }
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests;
