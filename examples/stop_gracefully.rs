//! Stops a group of processes gracefully: sends SIGTERM, waits three seconds, and kills those that
//! still run.

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use procwait::WaitSet;
    use std::{
        io::Read as _,
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    const GRACE: Duration = Duration::from_secs(3);

    let shell = |script| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).spawn()
    };
    let mut children = [
        shell("echo; exec sleep 60")?,
        shell("trap 'exit 3' TERM; echo; while :; do sleep 0.1; done")?,
        shell("trap '' TERM; echo; while :; do sleep 0.1; done")?,
    ];
    let mut group = WaitSet::new();
    for child in &mut children {
        // The shell writes a line after it has set its reaction to SIGTERM.
        let stdout = child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut [0])?;
        group.insert(child.id())?;
    }

    for pid in group.pids() {
        group.send_signal(pid, libc::SIGTERM)?;
    }
    let deadline = Instant::now() + GRACE;
    while let Some((pid, exit)) = group.wait_deadline(deadline)? {
        println!("{pid} {exit}");
    }
    for pid in group.pids() {
        println!("{pid} ignores SIGTERM");
        group.kill(pid)?;
    }
    while let Some((pid, exit)) = group.wait(None)? {
        println!("{pid} {exit}");
    }
    // A `WaitSet` does not reap, so the parent has to.
    for child in &mut children {
        child.wait()?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no SIGTERM");
}
