//! Stops a group of processes as everybody should: asks them to, gives them three
//! seconds, and kills those that are left.

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use procwait::wait_all;
    use std::{
        io::Read as _,
        process::{Command, Stdio},
        time::Duration,
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
    for child in &mut children {
        // Its line says that it has made up its mind about the signal.
        let stdout = child.stdout.as_mut().expect("piped");
        stdout.read_exact(&mut [0])?;
    }

    let pids = children.iter().map(|child| child.id());
    for pid in pids.clone() {
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM)?;
    }
    let stopped = wait_all(pids, Some(GRACE))?;
    for (pid, exit) in stopped.exited {
        println!("{pid} {exit}");
    }
    for &pid in &stopped.running {
        println!("{pid} does not want to");
        kill(Pid::from_raw(pid as i32), Signal::SIGKILL)?;
    }
    for (pid, exit) in wait_all(stopped.running, None)?.exited {
        println!("{pid} {exit}");
    }
    // They are our children, so it is for us to reap them.
    for child in &mut children {
        child.wait()?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no signal that asks a process to stop");
}
