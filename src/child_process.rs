//! The process of a `Child`: opened, verified to be the child, and reaped.

use crate::{
    Error, Exit,
    backoff::Backoff,
    deadline::Deadline,
    open_process::OpenProcess,
    pid::Pid,
    sys::{self, ChildState, ExitEvent, is_pid_in_use, reaped_elsewhere, try_wait_unless_reused},
};
use std::{
    io, mem,
    process::{Child, ExitStatus},
};

/// The result of opening the process of a child.
#[allow(clippy::large_enum_variant)] // It is taken apart at once. A box would allocate.
pub(crate) enum Opened {
    /// After it was opened, it was verified to be a child of ours that has not been reaped.
    Running(OpenProcess),
    /// It is exiting, and can neither be opened any more nor reaped yet.
    Exiting,
    /// It has been reaped, by this call or before. An error if it was reaped elsewhere.
    Reaped {
        status: io::Result<ExitStatus>,
        /// Whether there was a process with its pid before that.
        had_pid: bool,
    },
}

/// Opens the process of a child.
///
/// The pid may be another process's by now: another thread may have reaped the child, or the
/// kernel, if `SIGCHLD` is ignored. So open first, and then verify that what was opened is a
/// child of ours.
pub(crate) fn open(child: &mut Child) -> io::Result<Opened> {
    let pid = Pid::new(child.id())?;
    let process = match OpenProcess::open_child(pid) {
        Ok(process) => process,
        Err(Error::NotFound { .. }) => {
            let had_pid = is_pid_in_use(pid);
            return Ok(match try_wait_unless_reused(child).transpose() {
                Some(status) => Opened::Reaped { status, had_pid },
                None => Opened::Exiting,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let status = match process.child_state() {
        // Reaps it if it has exited: a child keeps its pid until it is reaped, so this is the one.
        // `child` can also have a status from an earlier wait. Then the process is another child of
        // ours with the same pid, which std does not reap. If std fails, the process can still be
        // waited for, and killed.
        Some(ChildState::Running | ChildState::Exited(_)) => Ok(child.try_wait().unwrap_or(None)),
        // `try_wait` would consume the stop, which the tracer has to handle: this program.
        Some(ChildState::Stopped) => Ok(None),
        Some(ChildState::NotAChild) => match try_wait_unless_reused(child) {
            Ok(None) => Err(reaped_elsewhere()),
            status => status,
        },
        None => sys::try_wait(child),
    };
    Ok(match status.transpose() {
        Some(status) => Opened::Reaped {
            status,
            had_pid: true,
        },
        None => Opened::Running(process),
    })
}

/// The process of a child, to be used without it. An error if the child was reaped before.
pub(crate) fn open_unreaped(child: &mut Child) -> io::Result<OpenProcess> {
    let pid = Pid::new(child.id())?;
    let status = match open(child)? {
        Opened::Running(process) => return Ok(process),
        Opened::Exiting => {
            let status = wait_exiting(child, Deadline::Never)?;
            status.expect("there is no deadline")
        }
        // If nothing has the pid any more, it was the child, and this call has reaped it.
        Opened::Reaped { status, had_pid } if had_pid && !is_pid_in_use(pid) => status?,
        Opened::Reaped { .. } => return Err(reaped_elsewhere()),
    };
    Ok(OpenProcess::exited(pid, Exit::from_status(status)))
}

/// Whether the child has exited. It is not reaped. False also if that is not known.
pub(crate) fn has_exited(child: &Child) -> io::Result<bool> {
    match OpenProcess::open_child(Pid::new(child.id())?) {
        // The child has been reaped, and the pid is another process's by now.
        Ok(process) if process.child_state() == Some(ChildState::NotAChild) => Ok(true),
        Ok(process) => Ok(process.wait_until(Deadline::Now)?.is_some()),
        Err(Error::NotFound { .. }) => Ok(true),
        Err(_) => Ok(false),
    }
}

/// Sleeps until the child has exited, and reaps it, or until the deadline (`None`).
pub(crate) fn wait(
    child: &mut Child,
    process: &OpenProcess,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    let mut is_zombie = false;
    if process.active_handle().is_some() {
        match process.wait_event(deadline)? {
            Some(event) => is_zombie = event == ExitEvent::Zombie,
            None => return Ok(None),
        }
    }
    deadline.poll(&mut Backoff::default(), || {
        // The event proves that the pid is still this child's, but only for the first attempt.
        if mem::take(&mut is_zombie) {
            or_known_status(process, child.try_wait())
        } else {
            try_reap(child, process)
        }
    })
}

/// macOS, OpenBSD and NetBSD return ESRCH for a child that is exiting and not a zombie yet.
pub(crate) fn wait_exiting(
    child: &mut Child,
    deadline: Deadline,
) -> io::Result<Option<ExitStatus>> {
    deadline.poll(&mut Backoff::default(), || try_wait_unless_reused(child))
}

/// Reaps the child if it has exited, or returns the status if it was reaped elsewhere and the OS
/// still reports it.
///
/// Never blocks: the exit event can precede the zombie, briefly on macOS and FreeBSD, and on Linux
/// until a tracer has reaped it.
pub(crate) fn try_reap(child: &mut Child, process: &OpenProcess) -> io::Result<Option<ExitStatus>> {
    if let Some(polling) = process.polling() {
        let exit = process.wait_until(Deadline::Now)?;
        // Where nothing is known of it but its pid, only reaping it shows that it has exited.
        if exit.is_none() && polling.is_verified() {
            return Ok(None);
        }
    }
    or_known_status(process, reap_verified(child, process))
}

fn or_known_status(
    process: &OpenProcess,
    reaped: io::Result<Option<ExitStatus>>,
) -> io::Result<Option<ExitStatus>> {
    reaped.or_else(|error| {
        let exit = process.exit().ok().flatten();
        exit.and_then(|exit| exit.status()).map(Some).ok_or(error)
    })
}

/// `Child::try_wait`, which goes by the pid, but only while that is this process's: if the child
/// was reaped elsewhere, the pid can be that of another child, which it would reap.
fn reap_verified(child: &mut Child, process: &OpenProcess) -> io::Result<Option<ExitStatus>> {
    match process.child_state() {
        Some(ChildState::Exited(_)) => child.try_wait(),
        Some(ChildState::Running | ChildState::Stopped) => Ok(None),
        Some(ChildState::NotAChild) => Err(reaped_elsewhere()),
        None => sys::try_wait(child),
    }
}
