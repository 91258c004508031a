//! Sends signals, without reaching a later process with the same pid.

use crate::{
    Error, Process, WaitSet,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    sys::{
        Handle, KILL, ProcessHandle as _, SetMember as _, Signal, is_no_such_process, signal_pid,
    },
};
#[cfg(unix)]
use crate::{
    Exit,
    sys::{leads_group, refuse_group, signal_group_of},
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

    /// Sends a signal to the process group that this process leads: the group whose id is its pid.
    /// Returns `Ok(false)` if it leads none, or if no one is left in the group. Zombies that are
    /// not reaped count as members. Signal 0 only checks for existence and permission.
    ///
    /// A process leads a group if it was started with [`process_group(0)`], or has called `setpgid`
    /// or `setsid`. Its descendants are in the group, too, unless they have left it. The group can
    /// also contain processes of other parents, which have joined it (setpgid(2)). Members that you
    /// may not signal are left out.
    ///
    /// No other group is signaled, even if it has the same id by now. So once the leader has exited,
    /// it depends on the system whether the other members still get the signal:
    ///
    /// | the leader | is a zombie | has been reaped |
    /// |---|---|---|
    /// | Linux 6.9 and later | yes | yes |
    /// | Linux before 6.9, Android | yes | no: `Ok(false)` |
    /// | Linux, if the leader is [polled](Process::backend) | if it is your child | no: `Ok(false)` |
    /// | other systems | no: `Ok(false)` | no: `Ok(false)` |
    ///
    /// So to stop a service with all that it has started, signal the group while its leader runs.
    ///
    /// Windows has no process groups. There, a job object would contain a process and all its
    /// descendants; this crate does not create any.
    ///
    /// # Errors
    ///
    /// - [`Error::Os`] if the OS refuses: `EPERM` if you may signal none of the members, `EINVAL` for
    ///   a signal that does not exist. If a sandbox denies `getpgid`, nothing is sent: the group could
    ///   be another than that of the process.
    /// - [`Error::Os`] of the kind [`InvalidInput`](io::ErrorKind::InvalidInput) for the group that
    ///   the caller is in, and for process 1. (`kill` takes -1 for every process.)
    /// - [`Error::InvalidPid`] if the [pid](Process::pid) is not known.
    ///
    /// ```
    /// use procwait::Process;
    /// use std::{os::unix::process::CommandExt as _, process::Command};
    ///
    /// let mut shell = Command::new("sh");
    /// let mut child = shell.args(["-c", "sleep 60 & sleep 60"]).process_group(0).spawn()?;
    /// let process = Process::open(child.id())?;
    /// assert!(process.send_signal_to_group(15)?, "the shell and what it has started");
    /// assert_eq!(process.wait()?.signal(), Some(15));
    /// # child.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// [`process_group(0)`]: std::os::unix::process::CommandExt::process_group
    #[cfg(unix)]
    pub fn send_signal_to_group(&self, signal: i32) -> Result<bool, Error> {
        self.shared.signal_group(signal)
    }

    /// Asks the process to exit, and kills it if it does not: sends `SIGTERM` and `SIGCONT`
    /// (so that a stopped process can react), waits up to `grace`, then sends `SIGKILL`.
    ///
    /// Returns `Some` if the process has exited, and `None` if it was sent `SIGKILL`: then
    /// wait for it, with a timeout. Most processes exit at once, but not one in
    /// uninterruptible sleep or in a frozen cgroup. To process 1 of its own pid namespace, a
    /// sender inside that namespace can send `SIGKILL` without any effect. Only this process is
    /// signaled: for its process group, use [`send_signal_to_group`](Process::send_signal_to_group).
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
        use crate::sys::{CONT, TERM};
        let deadline = Deadline::after(grace);
        if self.send_signal(TERM)? {
            self.send_signal(CONT)?;
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

    /// False if it leads no process group, or no one is left in it.
    #[cfg(unix)]
    pub(crate) fn signal_group(&self, signal: Signal) -> Result<bool, Error> {
        let pid = self.known_pid()?;
        refuse_group(pid)?;
        let is_leader = self.leads_group(pid)?;
        // Only a handle still refers to the group of a process that was reaped.
        if !is_leader && self.is_reaped() != Some(true) {
            return Ok(false);
        }
        let by_handle = self.handle.iter().map(|handle| handle.signal_group(signal));
        let polling = self.polling().filter(|_| is_leader);
        let by_probe = polling.iter().map(|polling| polling.signal_group(signal));
        for attempt in by_handle.chain(by_probe) {
            let error = match attempt {
                Ok(()) => return Ok(true),
                Err(error) if is_no_such_process(&error) => return Ok(false),
                Err(error) => error,
            };
            let is_final = match error.kind() {
                io::ErrorKind::Unsupported => false,
                // The signal is invalid; or this is another pid namespace than that of the process,
                // and here its pid means another one.
                io::ErrorKind::InvalidInput => true,
                // If a sandbox refuses, it may still allow `kill`.
                _ => !is_leader,
            };
            if is_final {
                return Err(Error::os(Handle::SIGNAL_CALL, pid, error));
            }
        }
        signal_group_of(pid, signal, || self.leads_group(pid))
    }

    /// Whether it leads a process group, and has not been reaped.
    #[cfg(unix)]
    fn leads_group(&self, pid: Pid) -> Result<bool, Error> {
        // The answer is about this process only if it still has its pid afterwards.
        let by_pid = leads_group(pid);
        Ok(self.is_reaped() == Some(false) && by_pid?)
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
        let is_sent = send(
            Some(member.pid),
            signal,
            has_exited,
            by_handle.chain(by_probe),
        );
        self.update_event();
        is_sent
    }
}

/// Sends a signal. Returns `false` if the process has exited. The `attempts` send it to the process
/// itself, each in another way. `pid` is `None` if it is not known.
fn send(
    pid: Option<Pid>,
    signal: Signal,
    has_exited: impl Fn() -> Result<bool, Error>,
    attempts: impl Iterator<Item = io::Result<()>>,
) -> Result<bool, Error> {
    // If the check fails, the signal can be sent all the same.
    if let Ok(true) = has_exited() {
        return Ok(false);
    }
    let mut refusal = io::ErrorKind::Unsupported.into();
    for attempt in attempts {
        match attempt {
            Ok(()) => return Ok(true),
            Err(error) if is_no_such_process(&error) => return Ok(false),
            // The signal is invalid; or this is another pid namespace than that of the process, and
            // here its pid means another one (kernel/signal.c, access_pidfd_pidns).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Err(Error::os(Handle::SIGNAL_CALL, pid, error));
            }
            Err(error) => refusal = error,
        }
    }
    match pid {
        Some(pid) => signal_pid(pid, signal, has_exited),
        None if has_exited()? => Ok(false),
        None => Err(Error::os(Handle::SIGNAL_CALL, None, refusal)),
    }
}
