//! Sends signals, without reaching a later process with the same pid.

#[cfg(unix)]
use crate::Exit;
use crate::{
    Error, Process, WaitSet,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    sys::{KILL, ProcessHandle as _, SetMember as _, Signal, is_no_such_process, signal_pid},
};
#[cfg(unix)]
use std::time::Duration;
use std::{io, iter};

impl Process {
    /// Kills the process: `SIGKILL` on Unix, `TerminateProcess` with exit code 1 on Windows.
    ///
    /// A process that has already exited is not an error. This does not wait for the exit.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the OS refuses.
    pub fn kill(&self) -> Result<(), Error> {
        self.shared.signal(KILL).map(drop)
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
        self.shared.signal(signal)
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
    /// As for [`send_signal`](Process::send_signal) and [`try_wait`](Process::try_wait). If the wait
    /// fails, `SIGTERM` was sent, and `SIGKILL` was not.
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
        use rustix::process::Signal;
        let deadline = Deadline::after(grace);
        if self.send_signal(Signal::TERM.as_raw())? {
            self.send_signal(Signal::CONT.as_raw())?;
            if self.shared.wait_until(deadline)?.is_none() {
                self.kill()?;
            }
        }
        Ok(self.shared.known_exit())
    }
}

impl OpenProcess {
    /// False if it has exited.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, Error> {
        let has_exited = || Ok(self.wait_until(Deadline::Now)?.is_some());
        let by_handle = self.handle.iter().map(|handle| handle.signal(signal));
        // Not before the check, which can fall back to polling.
        let polling = iter::once_with(|| self.polling()).flatten();
        let by_probe = polling.map(|polling| polling.signal(signal));
        let is_sent = send(self.pid, signal, has_exited, by_handle.chain(by_probe))?;
        if !is_sent {
            self.record_reaped(self.known_exit());
        }
        Ok(is_sent)
    }
}

impl WaitSet {
    /// Kills a process in the set, like [`Process::kill`]. It stays in the set until its exit
    /// is reported.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the pid is not in the set, [`Error::Os`] if the OS refuses.
    pub fn kill(&self, pid: u32) -> Result<(), Error> {
        self.signal(pid, KILL).map(drop)
    }

    /// Sends a signal to a process in the set, like [`Process::send_signal`]. Returns
    /// `Ok(false)` if it has exited.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if the pid is not in the set, [`Error::Os`] if the OS refuses.
    #[cfg(unix)]
    pub fn send_signal(&self, pid: u32, signal: i32) -> Result<bool, Error> {
        self.signal(pid, signal)
    }

    fn signal(&self, pid: u32, signal: Signal) -> Result<bool, Error> {
        let member = self.member(pid)?;
        if let Some(process) = &member.process {
            return process.signal(signal);
        }
        let has_exited = || Ok(self.check(member)?.is_some());
        let by_handle = member.watched.iter().map(|watched| watched.signal(signal));
        let by_probe = member.polling.iter().map(|polling| polling.signal(signal));
        let is_sent = send(member.pid, signal, has_exited, by_handle.chain(by_probe));
        self.update_event();
        is_sent
    }
}

/// Sends a signal. Returns `false` if the process has exited. The `attempts` send it to the process
/// itself, each in another way.
fn send(
    pid: Pid,
    signal: Signal,
    has_exited: impl Fn() -> Result<bool, Error>,
    attempts: impl Iterator<Item = io::Result<()>>,
) -> Result<bool, Error> {
    // If the check fails, the signal can be sent all the same.
    if let Ok(true) = has_exited() {
        return Ok(false);
    }
    for attempt in attempts {
        match attempt {
            Ok(()) => return Ok(true),
            Err(error) if is_no_such_process(&error) => return Ok(false),
            Err(_) => {}
        }
    }
    signal_pid(pid, signal, has_exited)
}
