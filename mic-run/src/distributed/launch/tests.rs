use super::*;

fn launch(variables: &[(&str, &str)]) -> Result<Launch> {
    Launch::from_variables(|name| {
        let found = variables.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn message(variables: &[(&str, &str)]) -> String {
    launch(variables).unwrap_err().to_string()
}

const TORCHRUN: [(&str, &str); 5] = [
    ("RANK", "5"),
    ("WORLD_SIZE", "8"),
    ("LOCAL_RANK", "1"),
    ("MASTER_ADDR", "node1"),
    ("MASTER_PORT", "1234"),
];

const OPEN_MPI: [(&str, &str); 5] = [
    ("OMPI_COMM_WORLD_RANK", "1"),
    ("OMPI_COMM_WORLD_SIZE", "2"),
    ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
    ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
    ("PMIX_NAMESPACE", "job-7"),
];

const SRUN: [(&str, &str); 6] = [
    ("SLURM_PROCID", "3"),
    ("SLURM_STEP_NUM_TASKS", "4"),
    ("SLURM_LOCALID", "1"),
    ("SLURM_JOB_ID", "77"),
    ("SLURM_STEP_ID", "0"),
    ("SLURM_STEP_NODELIST", "gpu[007-008]"),
];

fn places(launch: &Launch) -> (usize, usize, usize, Launcher) {
    let Launch {
        rank, world_size, ..
    } = *launch;
    (rank, world_size, launch.local_rank, launch.launcher)
}

#[test]
fn every_launcher_is_understood() {
    assert_eq!(launch(&[]).unwrap(), Launch::single());
    let torchrun = launch(&TORCHRUN).unwrap();
    assert_eq!(places(&torchrun), (5, 8, 1, Launcher::Torchrun));
    assert_eq!(torchrun.master_addr.as_deref(), Some("node1"));
    assert_eq!(torchrun.master_port, 1234);
    let agent = [&TORCHRUN[..], &[("TORCHELASTIC_USE_AGENT_STORE", "True")]].concat();
    assert_eq!(launch(&agent).unwrap().master_port, 1235);

    let mpi = launch(&OPEN_MPI).unwrap();
    assert_eq!(places(&mpi), (1, 2, 1, Launcher::OpenMpi));
    assert_eq!(mpi.master_addr.as_deref(), Some("127.0.0.1"));
    assert!((20_000..30_000).contains(&mpi.master_port));

    let srun = launch(&SRUN).unwrap();
    assert_eq!(places(&srun), (3, 4, 1, Launcher::Slurm));
    assert_eq!(srun.master_addr.as_deref(), Some("gpu007"));
    assert_eq!(srun.job, "77.0");

    let hydra = [
        ("PMI_RANK", "2"),
        ("PMI_SIZE", "3"),
        ("MPI_LOCALRANKID", "0"),
    ];
    assert_eq!(places(&launch(&hydra).unwrap()), (2, 3, 0, Launcher::Pmi));
    let pmi2 = [&SRUN[..], &[("PMI_RANK", "3"), ("PMI_SIZE", "4")]].concat();
    let pmi2 = launch(&pmi2).unwrap();
    assert_eq!(places(&pmi2), (3, 4, 1, Launcher::Pmi));
    assert_eq!((pmi2.job, pmi2.master_port), (srun.job, srun.master_port));
}

#[test]
fn a_batch_script_outside_srun_is_one_process() {
    let batch = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")];
    assert_eq!(launch(&batch).unwrap(), Launch::single());
}

#[test]
fn the_innermost_launcher_counts() {
    // mpirun within a SLURM job: SLURM counts machines.
    let both = [&SRUN[..], &OPEN_MPI].concat();
    assert_eq!(launch(&both).unwrap().launcher, Launcher::OpenMpi);
    // torchrun, once a machine, below srun.
    let run = [("TORCHELASTIC_RUN_ID", "a")];
    let both = [&SRUN[..], &TORCHRUN, &run].concat();
    assert_eq!(launch(&both).unwrap().rank, 5);
    assert_eq!(launch(&both).unwrap().job, "a");
}

#[test]
fn incomplete_sets_are_refused_with_the_missing_name() {
    for (missing, _) in TORCHRUN {
        let rest: Vec<_> = TORCHRUN.into_iter().filter(|v| v.0 != missing).collect();
        let message = message(&rest);
        assert!(message.starts_with(missing), "{message}");
    }
    for missing in [
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        "OMPI_COMM_WORLD_LOCAL_RANK",
    ] {
        let rest: Vec<_> = OPEN_MPI.into_iter().filter(|v| v.0 != missing).collect();
        assert!(message(&rest).contains(missing));
    }
    let empty = [("RANK", ""), ("WORLD_SIZE", "2")];
    assert!(message(&empty).starts_with("RANK is missing"));
    let hydra = [("PMI_RANK", "0"), ("PMI_SIZE", "2")];
    assert!(message(&hydra).contains("MPI_LOCALRANKID"));
}

#[test]
fn wrong_values_and_contradictions_are_refused() {
    let with = |name: &str, value: &'static str| {
        TORCHRUN.map(|(n, v)| (n, if n == name { value } else { v }))
    };
    assert!(message(&with("RANK", "-1")).contains("RANK is \"-1\""));
    assert!(message(&with("RANK", "8")).contains("rank 8 of 8"));
    assert!(message(&with("WORLD_SIZE", "0")).contains("rank 5 of 0"));
    assert!(message(&with("LOCAL_RANK", "6")).contains("number 6 on its machine"));
    assert!(message(&with("MASTER_PORT", "0")).contains("MASTER_PORT is \"0\""));
    assert!(message(&with("MASTER_PORT", "99999")).contains("MASTER_PORT"));
    // Left over from an earlier run: every process would believe that it is alone.
    let stale = [&OPEN_MPI[..], &[("RANK", "0"), ("WORLD_SIZE", "1")]].concat();
    assert!(message(&stale).contains("contradict OMPI_COMM_WORLD_RANK=1"));
    let stale = [&SRUN[..], &[("RANK", "0"), ("WORLD_SIZE", "1")]].concat();
    assert!(message(&stale).contains("contradict SLURM_PROCID=3"));
    // By hand, as many do, and right.
    let by_hand = [
        ("RANK", "1"),
        ("WORLD_SIZE", "2"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "localhost"),
        ("MASTER_PORT", "29500"),
    ];
    let by_hand = [&OPEN_MPI[..], &by_hand].concat();
    assert_eq!(launch(&by_hand).unwrap().rank, 1);
}

#[test]
fn the_gpu_is_the_local_rank_or_the_only_one() {
    let launch = launch(&TORCHRUN).unwrap();
    assert_eq!(launch.gpu(1).unwrap(), 0);
    assert_eq!(launch.gpu(4).unwrap(), 1);
    let mut third = launch.clone();
    third.local_rank = 2;
    let none = third.gpu(2).unwrap_err().to_string();
    assert!(none.contains("process 2 of this machine has no GPU: 2 are visible"));
    assert!(third.gpu(0).is_err());
}

#[test]
fn the_first_host_of_a_list() {
    let host = |list| first_host(list).unwrap();
    assert_eq!(host("node1"), "node1");
    assert_eq!(host("a1,b2"), "a1");
    assert_eq!(host("gpu[003-005,9],cpu1"), "gpu003");
    assert_eq!(host("r[1,2]n[4-5]"), "r1n4");
    assert_eq!(host("n[7]-ib,x"), "n7-ib");
    assert_eq!(first_host(""), None);
    assert_eq!(first_host("n[3"), None);
}
