use std::os::unix::fs::PermissionsExt;
use std::process::Child;
use std::time::{Duration, Instant};

use super::*;

fn words(text: &[&str]) -> Vec<String> {
    text.iter().map(|word| (*word).to_owned()).collect()
}

fn job(commands: &[&[&str]]) -> ArrayJob {
    ArrayJob {
        name: "seeds".to_owned(),
        commands: commands.iter().map(|c| words(c)).collect(),
        folder: "/home/a b".into(),
        logs: "/data/logs".into(),
        resume: words(&["--resume"]),
        resources: Resources::default(),
    }
}

/// Asks bash whether it is a script.
fn check(script: &str, folder: &Path) {
    let path = folder.join("script.sh");
    std::fs::write(&path, script).unwrap();
    let bash = Command::new("bash").arg("-n").arg(&path).output().unwrap();
    assert!(bash.status.success(), "{bash:?}\n{script}");
}

#[test]
fn the_script_is_this_text() {
    let mut job = job(&[
        &["mic-seg", "train", "--seed", "0"],
        &["mic-seg", "train", "--seed", "1", "--out", "it's $HOME"],
    ]);
    job.resources = Resources {
        time: Some("2-00:00:00".to_owned()),
        partition: Some("gpu".to_owned()),
        account: Some("vision".to_owned()),
        gpus: Some("a100:2".to_owned()),
        cpus: Some(8),
        memory: Some("64G".to_owned()),
        processes: Some(2),
        at_once: Some(4),
    };
    let wanted = r#"#!/bin/bash
#SBATCH --job-name=seeds
#SBATCH --array=0-1%4
#SBATCH --output=/data/logs/%x-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --time=2-00:00:00
#SBATCH --partition=gpu
#SBATCH --account=vision
#SBATCH --gpus=a100:2
#SBATCH --ntasks=2
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G

cd '/home/a b' || exit 1

case "${SLURM_ARRAY_TASK_ID:?}" in
0) command=(srun mic-seg train --seed 0) ;;
1) command=(srun mic-seg train --seed 1 --out 'it'\''s $HOME') ;;
*) echo "this script has no element $SLURM_ARRAY_TASK_ID" >&2; exit 2 ;;
esac
again=(--resume)
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    command+=("${again[@]}")
fi

requeue=no
interrupted=no
pass_on() {
    interrupted=yes
    kill -TERM "$child" 2>/dev/null
}
trap 'requeue=yes; pass_on' USR1
trap 'pass_on' TERM

"${command[@]}" &
child=$!
wait "$child"
status=$?
while [ "$interrupted" = yes ]; do
    interrupted=no
    wait "$child"
    status=$?
done

if [ "$requeue" = yes ] && [ "$status" -ne 0 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$status"
"#;
    let script = job.script().unwrap();
    assert_eq!(script, wanted);
    check(&script, tempfile::tempdir().unwrap().path());
}

#[test]
fn nothing_in_a_command_reaches_the_shell() {
    let folder = tempfile::tempdir().unwrap();
    let evil = [
        "$(touch hacked)",
        "`touch hacked`",
        "a;touch hacked",
        "'\"'",
        "line\nend",
        "",
        "*",
        "~",
        "a\\",
        "!x",
        "ä #b",
    ];
    let command = [&["printf", "%s\\0"], &evil[..]].concat();
    let mut job = job(&[&command]);
    job.folder = folder.path().into();
    let script = job.script().unwrap();
    check(&script, folder.path());
    let mut bash = bash(folder.path());
    let output = bash.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<_> = printed.split_terminator('\0').collect();
    assert_eq!(printed, evil);
    assert!(!folder.path().join("hacked").exists());
}

/// The first element of the script in `folder`, with an `scontrol` that notes what it is told.
fn bash(folder: &Path) -> Command {
    let scontrol = folder.join("scontrol");
    std::fs::write(
        &scontrol,
        "#!/bin/bash\necho \"$@\" >>\"${0%/*}/requeued\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&scontrol, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("bash");
    command
        .arg(folder.join("script.sh"))
        .env("PATH", format!("{}:{path}", folder.display()))
        .env("SLURM_ARRAY_TASK_ID", "0")
        .env("SLURM_ARRAY_JOB_ID", "7");
    command
}

/// Saves on SIGTERM and ends with the code for that, as a training program does.
const TRAIN: &str = "trap 'echo saved >>saved; exit 75' TERM; touch started; \
                     for i in $(seq 200); do sleep 0.05; done";

/// Starts the script, sends it a signal when its command runs, and waits for its end.
fn signalled(folder: &Path, signal: &str) -> Option<i32> {
    let mut job = job(&[&["bash", "-c", TRAIN]]);
    job.folder = folder.into();
    check(&job.script().unwrap(), folder);
    let mut child = bash(folder).spawn().unwrap();
    wait_for(&folder.join("started"), &mut child);
    let id = child.id().to_string();
    let kill = Command::new("bash")
        .args(["-c", "kill \"$@\"", "kill", signal, &id])
        .status();
    assert!(kill.unwrap().success());
    child.wait().unwrap().code()
}

fn wait_for(path: &Path, child: &mut Child) {
    let start = Instant::now();
    while !path.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the script has ended");
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn at_the_time_limit_the_command_saves_and_the_element_is_requeued() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(signalled(folder.path(), "-USR1"), Some(75));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("saved"), "saved\n");
    assert_eq!(read("requeued"), "requeue 7_0\n");
}

#[test]
fn a_cancelled_element_saves_and_is_not_requeued() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(signalled(folder.path(), "-TERM"), Some(75));
    assert!(folder.path().join("saved").exists());
    assert!(!folder.path().join("requeued").exists());
}

#[test]
fn an_element_that_starts_again_is_told_to_resume() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&[&["echo", "train"], &["false"]]);
    job.folder = folder.path().into();
    check(&job.script().unwrap(), folder.path());
    let run = |restarts: &str, element: &str| {
        let mut bash = bash(folder.path());
        bash.env("SLURM_RESTART_COUNT", restarts)
            .env("SLURM_ARRAY_TASK_ID", element);
        let output = bash.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    assert_eq!(run("0", "0"), (0, "train\n".to_owned()));
    assert_eq!(run("2", "0"), (0, "train --resume\n".to_owned()));
    assert_eq!(run("0", "1").0, 1);
    assert_eq!(run("0", "2").0, 2);
}

#[test]
fn what_the_header_cannot_hold_is_refused() {
    let message = |job: &ArrayJob| job.script().unwrap_err().to_string();
    assert!(message(&job(&[])).contains("no command"));
    assert!(message(&job(&[&[]])).contains("command 0 is empty"));
    assert!(message(&job(&[&["a\0b"]])).contains("NUL"));
    let mut named = job(&[&["a"]]);
    named.name = "two words".to_owned();
    assert!(message(&named).contains("the job's name is \"two words\""));
    let mut timed = job(&[&["a"]]);
    timed.resources.time = Some("1:00\n#SBATCH --uid=0".to_owned());
    assert!(message(&timed).starts_with("time is"));
    let mut logged = job(&[&["a"]]);
    logged.logs = "/data/%j".into();
    assert!(message(&logged).contains("the folder of the logs"));
}

#[test]
fn submitting_gives_the_number_or_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = job(&[&["true"]]);
    job.logs = folder.path().join("logs/deep");
    let script = folder.path().join("job.sh");
    job.write(&script).unwrap();
    assert!(job.logs.is_dir());
    let program = |text: &str| {
        let path = folder.path().join("sbatch");
        std::fs::write(&path, format!("#!/bin/bash\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let sbatch = program("test -f \"$2\" && echo '4711;cluster'");
    assert_eq!(submit_by(&sbatch, &script).unwrap(), "4711");
    let sbatch = program("echo 'sbatch: error: invalid partition' >&2; exit 1");
    let refused = submit_by(&sbatch, &script).unwrap_err().to_string();
    assert!(
        refused.ends_with("sbatch: error: invalid partition"),
        "{refused}"
    );
    let absent = submit_by("no-sbatch-here", &script).unwrap_err();
    assert!(
        absent
            .to_string()
            .contains("is not on this machine: submit")
    );
}
