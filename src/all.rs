//! `wait_any` and `wait_all`.

use crate::{Error, Exit, WaitSet, deadline::Deadline, process::wait_pid_until};
use std::{collections::HashSet, time::Duration};

/// Waits for the first of these processes to exit.
///
/// Returns `Ok(None)` if `timeout` passes first, or if there are no pids. To get further
/// exits, use a [`WaitSet`].
///
/// # Errors
///
/// As for [`WaitSet::insert`] and [`WaitSet::wait`]. In particular, [`Error::NotFound`] if no
/// process has one of the pids.
///
/// ```
/// # #[cfg(unix)] {
/// use std::process::Command;
///
/// let mut slow = Command::new("sleep").arg("60").spawn()?;
/// let mut quick = Command::new("true").spawn()?;
/// let first = procwait::wait_any([slow.id(), quick.id()], None)?;
/// assert_eq!(first.map(|(pid, _)| pid), Some(quick.id()));
/// # quick.wait()?;
/// # slow.kill()?;
/// # slow.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_any(
    pids: impl IntoIterator<Item = u32>,
    timeout: Option<Duration>,
) -> Result<Option<(u32, Exit)>, Error> {
    let deadline = Deadline::from_timeout(timeout);
    let pids: Vec<u32> = pids.into_iter().collect();
    if needs_no_set(&pids, deadline) {
        let mut first = None;
        for pid in pids {
            let exit = wait_pid_until(pid, deadline)?;
            first = first.or(exit.map(|exit| (pid, exit)));
        }
        return Ok(first);
    }
    let mut set = WaitSet::new();
    for pid in pids {
        set.insert(pid)?;
    }
    set.wait_until(deadline)
}

/// Waits until all of these processes have exited, or `timeout` has passed.
///
/// A pid that no process has counts as exited, with an unknown status. A timeout of zero
/// checks once which have exited. Duplicate pids are reported once. If it fails, the exits found
/// so far are lost; a [`WaitSet`] returns each exit separately.
///
/// # Errors
///
/// - [`Error::InvalidPid`] for 0, and on Unix for a pid above `i32::MAX`.
/// - [`Error::Os`] if events are not available and polling fails.
///
/// ```
/// # #[cfg(unix)] {
/// use std::{process::Command, time::Duration};
///
/// let mut slow = Command::new("sleep").arg("60").spawn()?;
/// let mut quick = Command::new("true").spawn()?;
/// # procwait::wait_pid(quick.id(), None)?;
/// let pids = [slow.id(), quick.id()];
/// let sorted = procwait::wait_all(pids, Some(Duration::from_millis(10)))?;
/// assert_eq!(sorted.running, [slow.id()]);
/// assert_eq!(sorted.exited[0].0, quick.id());
/// # quick.wait()?;
/// # slow.kill()?;
/// # slow.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait_all(
    pids: impl IntoIterator<Item = u32>,
    timeout: Option<Duration>,
) -> Result<WaitAll, Error> {
    let deadline = Deadline::from_timeout(timeout);
    let mut seen = HashSet::new();
    let mut pids: Vec<u32> = pids.into_iter().filter(|&pid| seen.insert(pid)).collect();
    let (mut not_found, mut exited) = (Vec::new(), Vec::new());
    if needs_no_set(&pids, deadline) {
        let mut running = Vec::new();
        for pid in pids {
            match wait_pid_until(pid, deadline) {
                Ok(Some(exit)) => exited.push((pid, exit)),
                Ok(None) => running.push(pid),
                Err(Error::NotFound { .. }) => not_found.push((pid, Exit::UNKNOWN)),
                Err(error) => return Err(error),
            }
        }
        pids = running;
    } else {
        let mut set = WaitSet::new();
        for &pid in &pids {
            match set.insert(pid) {
                Ok(_) => {}
                Err(Error::NotFound { .. }) => not_found.push((pid, Exit::UNKNOWN)),
                Err(error) => return Err(error),
            }
        }
        while let Some(found) = set.wait_until(deadline)? {
            exited.push(found);
        }
        pids.retain(|&pid| set.contains(pid));
    }
    not_found.append(&mut exited);
    Ok(WaitAll {
        exited: not_found,
        running: pids,
    })
}

/// For a single process, and for a single check, waits without a set do as well. They need no epoll.
fn needs_no_set(pids: &[u32], deadline: Deadline) -> bool {
    pids.len() <= 1 || deadline == Deadline::Now
}

/// The result of [`wait_all`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitAll {
    /// Exited processes: first the pids that no process had, then the others, in the order in
    /// which their exits were seen.
    pub exited: Vec<(u32, Exit)>,
    /// Processes still running at the timeout, in the given order.
    pub running: Vec<u32>,
}
