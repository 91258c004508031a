//! A service that is known by a file with the identity of its process.

use procwait::{ChildExt as _, Error, Identity, Process};
use rustix::fs::{FlockOperation, flock};
use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::OpenOptionsExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// `pidfile FILE exec COMMAND [ARGUMENT…]` is what `start` runs.
pub(crate) const EXEC: &str = "exec";

/// How long SIGKILL may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) enum State {
    Running(Process),
    Exited,
    NoFile,
}

/// Waits until no other process starts or stops the service.
///
/// The kernel unlocks the file when the lock is dropped, and when this process is killed. Descriptors
/// are close-on-exec, so the service does not inherit it. The lock file stays: after a removal, one
/// process could lock the old file, and another one a new file.
pub(crate) fn lock(file: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // Whoever could open it, also for reading, could lock it.
    options.append(true).create(true).mode(0o600);
    let lock = options.open(with_suffix(file, ".lock"))?;
    flock(&lock, FlockOperation::LockExclusive)?; // `lock.lock()` from Rust 1.89 on
    Ok(lock)
}

/// An error means that the service may be running.
pub(crate) fn find(file: &Path) -> Result<State> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::NoFile),
        text => text?,
    };
    let process = match Process::open_identity(&text.trim_end().parse()?) {
        Err(Error::NotFound { .. }) => return Ok(State::Exited),
        process => process?,
    };
    Ok(match process.try_wait()? {
        None => State::Running(process),
        Some(_) => State::Exited, // A zombie can still be opened.
    })
}

/// Returns the pid.
///
/// The child that this starts executes the command only after it has received a byte, which is sent
/// once the file is written. So if this fails or is killed before, no service runs without a file:
/// the socket is closed, and the child exits.
pub(crate) fn start(file: &Path, command: &[OsString]) -> Result<u32> {
    let (mut socket, stdin) = UnixStream::pair()?;
    let mut child = Command::new(env::current_exe()?)
        .args([file.as_os_str(), EXEC.as_ref()])
        .args(command)
        .stdin(OwnedFd::from(stdin))
        .spawn()?;
    // `process` makes sure that it is our child. execve(2) does not change its identity.
    let identity = child.process()?.identity();
    let identity = identity.ok_or("the system does not show the identity of a process")?;
    write(file, &identity)?;
    socket.write_all(&[0])?;
    let mut error = String::new();
    socket.read_to_string(&mut error)?;
    if !error.is_empty() {
        fs::remove_file(file)?;
        return Err(error.into());
    }
    Ok(child.id())
}

/// Executes the command in place of this process, the child of `start`.
pub(crate) fn exec(program: &OsString, arguments: &[OsString]) -> Result<Infallible> {
    // execve(2) closes this copy, which is close-on-exec: the end of the file for `start`.
    let mut socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Neither Ctrl-C nor the end of the terminal reaches the processes of another session.
    rustix::process::setsid()?;
    let go = socket.read_exact(&mut [0]);
    go.map_err(|_| "not started, as `pidfile start` has ended")?;
    let mut command = Command::new(program);
    // A pipe that the service inherits would have no end: `$(pidfile … start …)` would wait for it.
    command.args(arguments).stdin(Stdio::null());
    let error = command.stdout(Stdio::null()).stderr(Stdio::null()).exec();
    write!(socket, "{program:?}: {error}")?;
    Err(error.into())
}

/// As systemd does with `KillMode=mixed`, see systemd.kill(5).
pub(crate) fn stop(process: &Process, grace: Duration) -> Result<()> {
    // Only to the service itself: it may have to end what it has started in some order.
    process.send_signal(libc::SIGTERM)?;
    // A stopped process reacts only when it continues.
    process.send_signal(libc::SIGCONT)?;
    process.wait_timeout(grace)?;
    // To the service, if it is still running, and to all that it has left behind. `Process::stop`
    // would kill the service alone; without its leader, not every system can signal a group safely.
    process.send_signal_to_group(libc::SIGKILL)?;
    let exit = process.wait_timeout(KILL_TIMEOUT)?;
    exit.map(drop)
        .ok_or("it has been killed, and is still running".into())
}

/// Writes the file whole or not at all, even if the system crashes.
fn write(file: &Path, identity: &Identity) -> Result<()> {
    // A process that was killed may have left it behind. It is truncated.
    let temporary = with_suffix(file, ".new");
    let mut new = File::create(&temporary)?;
    writeln!(new, "{identity}")?;
    // The new name could reach the disk before the text, and name an empty file after a crash.
    new.sync_all()?;
    Ok(fs::rename(temporary, file)?)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
