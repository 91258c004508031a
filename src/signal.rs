//! Signals, to the process that is held and not to the next one that has its number.

use crate::{Error, Process, WaitSet};
#[cfg(unix)]
use crate::{Exit, deadline::Deadline, error::is_no_such_process, pid::Pid, sys};
#[cfg(windows)]
use crate::{
    polling::Polling,
    sys::{Event, Member},
};
#[cfg(unix)]
use rustix::process::Signal;
#[cfg(unix)]
use std::{io, time::Duration};

#[cfg(unix)]
const KILL: i32 = Signal::KILL.as_raw();
#[cfg(unix)]
const TERM: i32 = Signal::TERM.as_raw();
#[cfg(unix)]
const CONT: i32 = Signal::CONT.as_raw();

impl Process {
    /// Kills the process: `SIGKILL` on Unix, `TerminateProcess` with exit code 1 on Windows.
    ///
    /// A process that has already exited is not an error. This does not wait for the exit.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the OS refuses.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::Process;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?; // any pid would do
    /// process.kill()?;
    /// assert!(!process.wait()?.success());
    /// process.kill()?; // has exited, and that is all right
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill(&self) -> Result<(), Error> {
        #[cfg(unix)]
        return self.send_signal(KILL).map(drop);
        #[cfg(windows)]
        kill(
            || self.try_wait().map(|exit| exit.is_some()),
            || {
                self.event
                    .as_ref()
                    .map(Event::kill)
                    .or_else(|| self.polling().map(Polling::kill))
            },
        )
    }

    /// Sends a signal to the process. Returns `Ok(false)` if it has exited (it may be a
    /// zombie). Signal 0 only checks for existence and permission.
    ///
    /// On Linux, a pidfd or an open `/proc/PID/stat` ensures that the signal cannot reach
    /// another process that got the pid. Elsewhere (macOS, the BSDs, illumos, Android), and
    /// in a sandbox that allows only `kill`, it is sent to the pid, right after a check that
    /// the process still exists. That is safe for a child that you have not reaped: it keeps
    /// its pid.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the OS refuses: `EPERM` for a process that you may not signal,
    /// `EINVAL` for a signal that does not exist.
    ///
    /// ```
    /// use procwait::Process;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?;
    /// assert!(process.send_signal(15)?);
    /// assert_eq!(process.wait()?.signal(), Some(15));
    /// assert!(!process.send_signal(15)?, "it has exited");
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn send_signal(&self, signal: i32) -> Result<bool, Error> {
        let polling = || Some(self.polling()?.send_signal(signal));
        send(
            self.pid,
            signal,
            || self.try_wait().map(|exit| exit.is_some()),
            || {
                by_either(
                    self.event.as_ref().map(|event| event.send_signal(signal)),
                    polling,
                )
            },
            || self.is_gone(None),
        )
    }

    /// Asks the process to exit, and kills it if it does not: sends `SIGTERM` and `SIGCONT`
    /// (so that a stopped process can react), waits up to `grace`, then sends `SIGKILL`.
    ///
    /// Returns `Some` if the process has exited, and `None` if it was sent `SIGKILL`: then
    /// wait for it, with a timeout. Most processes exit at once, but not one in
    /// uninterruptible sleep or in a frozen cgroup. To process 1 of its own pid namespace, a
    /// sender inside that namespace can send `SIGKILL` without any effect.
    ///
    /// # Errors
    ///
    /// As for [`send_signal`](Process::send_signal).
    ///
    /// ```
    /// use procwait::Process;
    /// use std::{process::Command, time::Duration};
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let process = Process::open(child.id())?;
    /// let exit = match process.stop(Duration::from_secs(10))? {
    ///     Some(exit) => Some(exit),
    ///     None => process.wait_timeout(Duration::from_secs(10))?,
    /// };
    /// assert_eq!(exit.and_then(|exit| exit.signal()), Some(15));
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn stop(&self, grace: Duration) -> Result<Option<Exit>, Error> {
        let deadline = Deadline::after(grace);
        if self.send_signal(TERM)? {
            self.send_signal(CONT)?;
            if self.wait_until(deadline)?.is_none() {
                self.kill()?;
            }
        }
        Ok(self.exited())
    }
}

impl WaitSet {
    /// Kills a process in the set, like [`Process::kill`]. It stays in the set until its exit
    /// is reported.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the pid is not in the set, [`Error::Os`] if the OS refuses.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use procwait::WaitSet;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(child.id())?;
    /// set.kill(child.id())?;
    /// let (_, exit) = set.wait(None)?.expect("waits until it exits");
    /// assert_eq!(exit.signal(), Some(9));
    /// # child.wait()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kill(&self, pid: u32) -> Result<(), Error> {
        #[cfg(unix)]
        return self.send_signal(pid, KILL).map(drop);
        #[cfg(windows)]
        {
            let (known, entry) = self.member(pid)?;
            let (member, polling) = entry.held();
            kill(
                || self.has_exited(known, entry),
                || {
                    member
                        .map(Member::kill)
                        .or_else(|| polling.map(Polling::kill))
                },
            )
        }
    }

    /// Sends a signal to a process in the set, like [`Process::send_signal`]. Returns
    /// `Ok(false)` if it has exited.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the pid is not in the set, [`Error::Os`] if the OS refuses.
    ///
    /// ```
    /// use procwait::WaitSet;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("60").spawn()?;
    /// let mut set = WaitSet::new();
    /// set.insert(child.id())?;
    /// assert!(set.send_signal(child.id(), 15)?);
    /// let (_, exit) = set.wait(None)?.expect("waits until it exits");
    /// assert_eq!(exit.signal(), Some(15));
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(unix)]
    pub fn send_signal(&self, pid: u32, signal: i32) -> Result<bool, Error> {
        let (known, entry) = self.member(pid)?;
        let (member, polling) = entry.held();
        let polling = || Some(polling?.send_signal(signal));
        send(
            known,
            signal,
            || self.has_exited(known, entry),
            || by_either(member.map(|member| member.send_signal(signal)), polling),
            || {},
        )
    }
}

/// `held` sends it to what holds the process, if there is something that can be sent one,
/// and `is_gone` is told if that knows of no such process any more.
///
/// A zombie can be sent signals, too: so it is looked at first, and false is that it has
/// exited. Where the signal is refused, the refusal may be a sandbox's: what `kill` says
/// counts. Between the look before it and the `kill` itself the process could be reaped
/// and its number given away, within microseconds; a child that we have not reaped keeps
/// it.
#[cfg(unix)]
fn send(
    pid: Pid,
    signal: i32,
    has_exited: impl Fn() -> Result<bool, Error>,
    held: impl FnOnce() -> io::Result<()>,
    is_gone: impl FnOnce(),
) -> Result<bool, Error> {
    // If the look fails, it may be sent all the same.
    if let Ok(true) = has_exited() {
        return Ok(false);
    }
    match held() {
        Ok(()) => return Ok(true),
        Err(refused) if is_no_such_process(&refused) => {
            is_gone();
            return Ok(false);
        }
        Err(_) => {}
    }
    if has_exited()? {
        return Ok(false);
    }
    match sys::kill(pid, signal) {
        Ok(()) => Ok(true),
        Err(_) if has_exited()? => Ok(false),
        Err(refused) => Err(Error::os("kill", pid.get())(refused)),
    }
}

/// By the event's means, or else by polling's, unless the first know it to be gone.
#[cfg(unix)]
fn by_either(
    event: Option<io::Result<()>>,
    polling: impl FnOnce() -> Option<io::Result<()>>,
) -> io::Result<()> {
    match event {
        Some(Ok(())) => Ok(()),
        Some(Err(refused)) if is_no_such_process(&refused) => Err(refused),
        _ => polling().unwrap_or_else(|| Err(io::ErrorKind::Unsupported.into())),
    }
}

/// As for `std::process::Child::kill`, it is no error if it has exited.
#[cfg(windows)]
fn kill(
    has_exited: impl Fn() -> Result<bool, Error>,
    held: impl FnOnce() -> Option<Result<(), Error>>,
) -> Result<(), Error> {
    if has_exited()? {
        return Ok(());
    }
    match held() {
        Some(Err(_)) if has_exited()? => Ok(()),
        answer => answer.unwrap_or(Ok(())),
    }
}
