//! Keeps programs running, and restarts those that fail. When standard input ends, stops all of
//! them within five seconds.
//!
//! `supervisor [COMMAND…]`, where each COMMAND is a shell command

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{env, io, thread};

    let mut commands: Vec<String> = env::args().skip(1).collect();
    if commands.is_empty() {
        commands = ["exec sleep 60", "sleep 1; exit 1", "true"]
            .map(str::to_owned)
            .into();
    }
    let programs: Vec<_> = commands.into_iter().map(unix::Program::new).collect();
    thread::scope(|scope| {
        for program in &programs {
            scope.spawn(|| program.keep_running().expect("sh can be started"));
        }
        let read = io::copy(&mut io::stdin(), &mut io::sink());
        for program in &programs {
            scope.spawn(|| program.stop().expect("children can be signaled"));
        }
        read?;
        Ok(())
    })
}

#[cfg(unix)]
mod unix {
    use procwait::{Error, Process};
    use std::{
        io,
        process::Command,
        sync::{Arc, Mutex},
        thread,
        time::Duration,
    };

    const GRACE: Duration = Duration::from_secs(5);

    /// The time between a failure and the next start.
    const RESTART_DELAY: Duration = Duration::from_millis(500);

    pub(crate) struct Program {
        command: String,
        state: Mutex<State>,
    }

    enum State {
        Starting,
        Running(Arc<Process>),
        Stopping,
    }

    impl Program {
        pub(crate) fn new(command: String) -> Program {
            let state = Mutex::new(State::Starting);
            Program { command, state }
        }

        pub(crate) fn keep_running(&self) -> io::Result<()> {
            loop {
                let (mut child, process) = {
                    let mut state = self.state.lock().expect("no thread panicked");
                    if let State::Stopping = *state {
                        return Ok(());
                    }
                    let child = Command::new("sh").args(["-c", &self.command]).spawn()?;
                    let process = Arc::new(Process::open(child.id())?);
                    *state = State::Running(process.clone());
                    (child, process)
                };
                // Another thread may call `stop` during this wait.
                let exit = process.wait()?;
                child.wait()?;
                println!("{}: {exit}", self.command);
                if exit.success() {
                    return Ok(());
                }
                thread::sleep(RESTART_DELAY);
            }
        }

        pub(crate) fn stop(&self) -> Result<(), Error> {
            let mut state = self.state.lock().expect("no thread panicked");
            let previous = std::mem::replace(&mut *state, State::Stopping);
            drop(state);
            if let State::Running(process) = previous {
                process.stop(GRACE)?;
            }
            Ok(())
        }
    }
}

#[cfg(not(unix))]
fn main() {
    println!("this OS has no SIGTERM");
}
