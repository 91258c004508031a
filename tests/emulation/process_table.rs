//! What the emulated systems tell of a pid without being waited on: `kill(pid, 0)`, the
//! process table, `waitid`. A model, see `kqueue.rs` beside it.

use crate::{
    Exit,
    pid::Pid,
    sys::{Child, Keep, Look, Sight, linux::probe as linux, unix::child as linux_child},
};
use rustix::{
    fs::fstat,
    process::{PidfdFlags, geteuid, getuid, pidfd_open},
};
use std::{
    collections::HashMap,
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    sync::{LazyLock, Mutex},
    time::{Duration, Instant},
};

pub(crate) const CALL: &str = "kill";

/// Whether this system is played, or with this habit: the names in this variable, with
/// commas between them.
pub(crate) fn plays(name: &str) -> bool {
    let names = env::var("PROCWAIT_KQUEUE").expect("PROCWAIT_KQUEUE names a system");
    names.split(',').any(|it| it == name)
}

/// In the place of the microsecond in which it started: what numbers all processes since
/// the system did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

pub(crate) fn mark(pid: Pid) -> Option<Mark> {
    let pidfd = pidfd_open(pid.raw(), PidfdFlags::empty()).ok()?;
    Some(Mark(fstat(pidfd).ok()?.st_ino))
}

/// Those that have begun to exit and are no zombies yet, and until when.
static EXITING: LazyLock<Mutex<HashMap<Mark, Instant>>> = LazyLock::new(Mutex::default);

/// Once for each process: it is a zombie after that.
pub(crate) fn is_exiting_for(mark: Option<Mark>, time: Duration) -> bool {
    let now = Instant::now();
    mark.is_some_and(|mark| now < *EXITING.lock().unwrap().entry(mark).or_insert(now + time))
}

/// From now on, the process table shows it as a zombie.
pub(crate) fn is_zombie(mark: Option<Mark>) {
    if let Some(mark) = mark {
        EXITING.lock().unwrap().insert(mark, Instant::now());
    }
}

/// Of one that has exited: if it is not known to be exiting, it is seen to be a zombie.
fn is_exiting(mark: Option<Mark>) -> bool {
    is_exiting_for(mark, Duration::ZERO)
}

pub(crate) fn is_strangers(pid: Pid) -> bool {
    let owner = fs::metadata(format!("/proc/{}", pid.get())).map(|it| it.uid());
    !geteuid().is_root() && owner.is_ok_and(|owner| owner != getuid().as_raw())
}

/// Whether a process has this pid, alive or zombie.
pub(crate) fn exists(pid: Pid) -> io::Result<bool> {
    if plays("capsicum") {
        return Err(io::Error::other("ECAPMODE"));
    }
    Ok(linux::View::open(pid, Keep::IfSpare)?.is_some())
}

pub(crate) fn sight(pid: Pid) -> io::Result<Sight<Mark>> {
    assert!(
        !plays("pledged"),
        "the process table is read against a promise"
    );
    if !exists(pid)? {
        return Ok(Sight::Gone);
    }
    let mark = mark(pid);
    let Some((_, look)) = linux::View::open(pid, Keep::IfSpare)? else {
        return Ok(Sight::Gone);
    };
    // macOS shows less of a stranger's process.
    let is_hidden = plays("apple") && is_strangers(pid);
    let shown = mark.filter(|_| !is_hidden);
    let exit = match look {
        Look::Gone => return Ok(Sight::Gone),
        Look::Running => None,
        Look::Exited(_) if is_exiting(mark) => None,
        Look::Exited(_) if is_hidden => Some(Exit::UNKNOWN),
        Look::Exited(exit) => Some(exit),
    };
    // Zombies have lost the time of their start on these.
    let is_without_mark = exit.is_some() && (plays("netbsd") || plays("openbsd"));
    Ok(Sight::Seen {
        mark: shown.filter(|_| !is_without_mark),
        is_ours: linux_child::peek_child(pid) != Child::NotOurs,
        exit,
    })
}

pub(crate) fn is_sure_to_live(child: Pid) -> bool {
    matches!(sight(child), Ok(Sight::Seen { exit: None, .. }))
}

pub(crate) mod child {
    use super::{is_exiting, mark, plays};
    use crate::{
        pid::Pid,
        sys::{Child, unix::child as linux_child},
    };
    use std::{io, process};

    pub(crate) fn peek_child(pid: Pid) -> Child {
        match linux_child::peek_child(pid) {
            _ if plays("openbsd") => Child::NotOurs,
            Child::Exited(_) if is_exiting(mark(pid)) => Child::Running,
            seen => seen,
        }
    }

    pub(crate) fn try_wait(child: &mut process::Child) -> io::Result<Option<process::ExitStatus>> {
        let pid = Pid::new(child.id()).expect("a pid");
        match peek_child(pid) {
            Child::Running => Ok(None),
            _ => linux_child::try_wait(child),
        }
    }
}
