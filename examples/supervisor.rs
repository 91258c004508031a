//! Keeps programs running: restarts each one that exits, with exponential backoff. One thread waits
//! for all programs and for commands. Another thread reads the commands from standard input:
//!
//! - `start NAME PROGRAM [ARGUMENT…]`
//! - `stop NAME`: sends SIGTERM, and SIGKILL after five seconds
//! - `quit`, or the end of the input: stops all programs, and exits
//!
//! `supervisor_tokio` is the same as one task on tokio.

#[cfg(unix)]
mod supervisor_common;

#[cfg(unix)]
fn main() -> Result<(), procwait::Error> {
    use std::{sync::mpsc, thread};
    use supervisor_common::{Supervisor, read_commands};

    let mut supervisor = Supervisor::default();
    let (sender, commands) = mpsc::channel();
    let waker = supervisor.set.waker();
    thread::spawn(move || {
        for command in read_commands() {
            if sender.send(command).is_err() {
                break; // `main` has returned.
            }
            waker.wake();
        }
    });

    while !supervisor.is_finished() {
        // Returns an exit, or `None` when the next deadline has passed or there is a command.
        if let Some((pid, exit)) = supervisor.set.wait(supervisor.timeout())? {
            supervisor.handle_exit(pid, exit);
        }
        for command in commands.try_iter() {
            supervisor.handle_command(&command);
        }
        supervisor.handle_deadlines();
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no SIGTERM");
}
