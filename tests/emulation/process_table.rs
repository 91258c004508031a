//! Emulates what the systems report about a pid: `kill(pid, 0)`, the process table, and `waitid`.
//! It is a model, like `kqueue.rs` in this folder.

use crate::{
    Exit,
    pid::Pid,
    sys::{
        ChildState, KeepFd, ProcessProbe as _, Scope, Snapshot, State,
        linux::probe::Probe as LinuxProbe, unix::child as linux_child, unix::file::fstat,
    },
};
use rustix::process::{PidfdFlags, geteuid, getuid, pidfd_open};
use std::{
    collections::HashMap,
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    process,
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

pub(crate) const SNAPSHOT_CALL: &str = "kill";

/// Whether this system or quirk is emulated. `PROCWAIT_KQUEUE` lists their names, separated by
/// commas.
pub(crate) fn emulates(name: &str) -> bool {
    let names = env::var("PROCWAIT_KQUEUE").expect("PROCWAIT_KQUEUE names a system");
    names.split(',').any(|emulated| emulated == name)
}

/// The inode of the process's pidfd, which stands in for its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn start_time(self) -> Option<u64> {
        Some(self.0)
    }
}

/// `PROCWAIT_BOOT_TIME` is the time of boot, in microseconds.
pub(crate) fn scope() -> Option<Scope> {
    let boot = env::var("PROCWAIT_BOOT_TIME").map_or(0, |time| time.parse().expect("a number"));
    Some(Scope {
        boot,
        pid_namespace: 0,
    })
}

pub(crate) fn fingerprint(pid: Pid) -> Option<Fingerprint> {
    let pidfd = pidfd_open(pid.raw(), PidfdFlags::empty()).ok()?;
    Some(Fingerprint(fstat(pidfd).ok()?.st_ino))
}

/// Processes that have begun to exit, and when they become zombies.
static EXITING: LazyLock<Mutex<HashMap<Fingerprint, Instant>>> = LazyLock::new(Mutex::default);

/// Whether the process is still exiting. It is, for `duration` after the first call for the
/// process.
pub(crate) fn is_exiting_for(process: Option<Fingerprint>, duration: Duration) -> bool {
    let now = Instant::now();
    let mut exiting = EXITING.lock().unwrap();
    process.is_some_and(|process| now < *exiting.entry(process).or_insert(now + duration))
}

/// Makes the process table show the process as a zombie from now on.
pub(crate) fn make_zombie(process: Option<Fingerprint>) {
    if let Some(process) = process {
        EXITING.lock().unwrap().insert(process, Instant::now());
    }
}

fn is_exiting(process: Option<Fingerprint>) -> bool {
    is_exiting_for(process, Duration::ZERO)
}

pub(crate) fn is_other_users(pid: Pid) -> bool {
    let owner = fs::metadata(format!("/proc/{}", pid.get())).map(|metadata| metadata.uid());
    !geteuid().is_root() && owner.is_ok_and(|owner| owner != getuid().as_raw())
}

/// Whether a process has this pid, alive or zombie.
pub(crate) fn exists(pid: Pid) -> io::Result<bool> {
    if emulates("capsicum") {
        return Err(io::Error::other("ECAPMODE"));
    }
    Ok(LinuxProbe::open(pid, KeepFd::UnlessReserved)?.is_some())
}

pub(crate) fn snapshot(pid: Pid) -> io::Result<Option<Snapshot<Fingerprint>>> {
    assert!(
        !emulates("pledged"),
        "reading the process table ends a program that has pledged not to"
    );
    if !exists(pid)? {
        return Ok(None);
    }
    let process = fingerprint(pid);
    let Some((_, state)) = LinuxProbe::open(pid, KeepFd::UnlessReserved)? else {
        return Ok(None);
    };
    // macOS does not show the start time and status of another user's process.
    let is_hidden = emulates("apple") && is_other_users(pid);
    let exit = match state {
        State::Reaped => return Ok(None),
        State::Running => None,
        State::Exited(_) if is_exiting(process) => None,
        State::Exited(_) if is_hidden => Some(Exit::UNKNOWN),
        State::Exited(exit) => Some(exit),
    };
    // The process tables of these systems have no start time for zombies.
    let lacks_start_time = exit.is_some() && (emulates("netbsd") || emulates("openbsd"));
    Ok(Some(Snapshot {
        fingerprint: process.filter(|_| !is_hidden && !lacks_start_time),
        is_child: linux_child::peek_child(pid) != ChildState::NotAChild,
        exit,
    }))
}

pub(crate) fn peek_child(pid: Pid) -> ChildState {
    match linux_child::peek_child(pid) {
        _ if emulates("openbsd") => ChildState::NotAChild,
        ChildState::Exited(_) if is_exiting(fingerprint(pid)) => ChildState::Running,
        state => state,
    }
}

pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
    let pid = Pid::new(child.id()).expect("a pid");
    let is_hidden = matches!(linux_child::peek_child(pid), ChildState::Exited(_))
        && peek_child(pid) == ChildState::Running;
    if is_hidden {
        return Ok(None);
    }
    // Of a child that is running, or has been reaped: then std knows the status.
    linux_child::try_wait(child)
}
