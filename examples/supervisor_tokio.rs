//! Keeps programs running, like `supervisor`, and takes the same commands. One task on tokio waits
//! for all programs and for commands.

#[cfg(unix)]
mod supervisor_common;

#[cfg(unix)]
fn main() -> std::io::Result<()> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(supervise())?;
    Ok(())
}

#[cfg(unix)]
async fn supervise() -> Result<(), procwait::Error> {
    use std::{thread, time::Duration};
    use supervisor_common::{Supervisor, read_commands};
    use tokio::{select, sync::mpsc, time::sleep};

    let mut supervisor = Supervisor::default();
    let (sender, mut commands) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for command in read_commands() {
            if sender.send(command).is_err() {
                break; // The runtime has been dropped.
            }
        }
    });

    while !supervisor.is_finished() {
        let timeout = supervisor.timeout().unwrap_or(Duration::MAX);
        // A command ends the wait by itself, so this needs no waker. Without one, an empty set does
        // not wait.
        select! {
            exited = supervisor.set.wait_on_tokio(), if !supervisor.set.is_empty() => {
                if let Some((pid, exit)) = exited? {
                    supervisor.handle_exit(pid, exit);
                }
            }
            Some(command) = commands.recv() => supervisor.handle_command(&command),
            () = sleep(timeout) => {}
        }
        supervisor.handle_deadlines();
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no SIGTERM");
}
