//! What `supervisor` and `supervisor_tokio` do on a command, an exit, or a deadline. Each of them
//! waits for these in its own way.

use procwait::{Exit, Process, WaitSet};
use std::{
    fmt::Display,
    io::{self, BufRead as _, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// The time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// The delay before a restart doubles each time, until the program has run for `STABLE`.
const MIN_DELAY: Duration = Duration::from_millis(100);
const MAX_DELAY: Duration = Duration::from_secs(5);
const STABLE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct Supervisor {
    /// The programs that run.
    pub(crate) set: WaitSet,
    programs: Vec<Program>,
    is_quitting: bool,
}

struct Program {
    name: String,
    command: Command,
    /// `None` between an exit and the restart.
    running: Option<(Child, Process)>,
    started_at: Instant,
    is_stopping: bool,
    /// When to restart it, or to kill it if it is stopping.
    deadline: Option<Instant>,
    /// The delay before the next restart.
    delay: Duration,
}

/// The lines of standard input, and then `quit`.
pub(crate) fn read_commands() -> impl Iterator<Item = String> {
    let lines = io::stdin().lock().split(b'\n').map_while(Result::ok);
    let commands = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    commands.chain(["quit".to_owned()])
}

impl Supervisor {
    pub(crate) fn is_finished(&self) -> bool {
        self.is_quitting && self.programs.is_empty()
    }

    /// The time until the next deadline.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        let deadlines = self.programs.iter().filter_map(|program| program.deadline);
        Some(deadlines.min()?.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn handle_command(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            _ if self.is_quitting => {}
            ["start", name, path, ref arguments @ ..] => match self.find(name) {
                Some(_) => log(name, "has been started before"),
                None => {
                    let mut program = Program::new(name, path, arguments);
                    program.start(&mut self.set);
                    self.programs.push(program);
                }
            },
            ["stop", name] => match self.find(name) {
                Some(program) => program.stop(),
                None => log(name, "has not been started"),
            },
            ["quit"] => {
                self.is_quitting = true;
                self.programs.iter_mut().for_each(Program::stop);
            }
            _ => log("usage", "start NAME PROGRAM [ARGUMENT…] | stop NAME | quit"),
        }
        self.remove_stopped();
    }

    pub(crate) fn handle_exit(&mut self, pid: u32, exit: Exit) {
        let has_pid = |program: &&mut Program| program.pid() == Some(pid);
        if let Some(program) = self.programs.iter_mut().find(has_pid) {
            program.handle_exit(exit);
        }
        self.remove_stopped();
    }

    pub(crate) fn handle_deadlines(&mut self) {
        let now = Instant::now();
        for program in &mut self.programs {
            if program.deadline.is_some_and(|deadline| deadline <= now) {
                program.deadline = None;
                if program.is_stopping {
                    program.signal(libc::SIGKILL);
                } else {
                    program.start(&mut self.set);
                }
            }
        }
    }

    fn find(&mut self, name: &str) -> Option<&mut Program> {
        let mut programs = self.programs.iter_mut();
        programs.find(|program| program.name == name)
    }

    fn remove_stopped(&mut self) {
        let has_stopped = |program: &Program| program.is_stopping && program.running.is_none();
        self.programs.retain(|program| !has_stopped(program));
    }
}

impl Program {
    fn new(name: &str, path: &str, arguments: &[&str]) -> Program {
        let mut command = Command::new(path);
        // Standard input is for the supervisor's commands.
        command.args(arguments).stdin(Stdio::null());
        Program {
            name: name.to_owned(),
            command,
            running: None,
            started_at: Instant::now(),
            is_stopping: false,
            deadline: None,
            delay: MIN_DELAY,
        }
    }

    fn pid(&self) -> Option<u32> {
        let (_, process) = self.running.as_ref()?;
        Some(process.pid())
    }

    fn start(&mut self, set: &mut WaitSet) {
        match self.spawn(set) {
            Ok((child, process)) => {
                log(&self.name, format_args!("started ({})", child.id()));
                self.started_at = Instant::now();
                self.running = Some((child, process));
            }
            Err(error) => self.restart_later(format_args!("cannot be started: {error}")),
        }
    }

    fn spawn(&mut self, set: &mut WaitSet) -> io::Result<(Child, Process)> {
        let mut child = self.command.spawn()?;
        // Until the child is reaped, no other process can have its pid.
        let process = Process::open(child.id());
        match process.and_then(|process| set.insert_process(&process).map(|_| process)) {
            Ok(process) => Ok((child, process)),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    fn restart_later(&mut self, reason: impl Display) {
        let ms = self.delay.as_millis();
        log(&self.name, format_args!("{reason}, restart in {ms} ms"));
        self.deadline = Some(Instant::now() + self.delay);
        self.delay = MAX_DELAY.min(self.delay * 2);
    }

    fn handle_exit(&mut self, exit: Exit) {
        if let Some((mut child, _)) = self.running.take() {
            // A set does not reap. This does not wait, as the child has exited. It fails if SIGCHLD
            // is ignored: then the kernel has reaped the child.
            let _ = child.wait();
        }
        if self.is_stopping {
            return log(&self.name, format_args!("{exit}, stopped"));
        }
        if self.started_at.elapsed() >= STABLE {
            self.delay = MIN_DELAY;
        }
        self.restart_later(exit);
    }

    /// Does what [`Process::stop`] does, but does not wait.
    fn stop(&mut self) {
        if self.is_stopping {
            return;
        }
        self.is_stopping = true;
        if self.running.is_none() {
            return log(&self.name, "stopped");
        }
        self.signal(libc::SIGTERM);
        // A stopped process reacts only when it continues.
        self.signal(libc::SIGCONT);
        self.deadline = Some(Instant::now() + GRACE);
    }

    fn signal(&self, signal: i32) {
        let Some((_, process)) = &self.running else {
            return;
        };
        if let Err(error) = process.send_signal(signal) {
            log(&self.name, error);
        }
    }
}

/// Unlike `println!`, does not panic if nothing reads the output any more.
fn log(name: &str, event: impl Display) {
    let _ = writeln!(io::stdout(), "{name}: {event}");
}
