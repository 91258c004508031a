//! What kqueue's answers mean on each system. It makes no calls, so every case is tested on Linux.

use crate::Exit;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // One at a time.
pub(crate) enum System {
    Apple,
    DragonFly,
    FreeBsd,
    NetBsd,
    OpenBsd,
}

/// What the kernel is asked to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    Exit,
    /// `NOTE_EXITSTATUS`, which only Apple systems have.
    ExitStatus,
}

/// What `kevent` returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawEvent {
    /// `None` if it is not about a process. A descriptor can have the same number.
    pub(crate) pid: Option<u32>,
    /// `EV_ERROR`: the data is an errno.
    pub(crate) is_error: bool,
    pub(crate) data: i64,
}

const ENOENT: i64 = 2;

/// Registers a process with `add`.
///
/// Apple's kernel reports the status of one's children and of processes that one may signal. For
/// other processes it refuses (EACCES), but reports the exit alone (XNU, bsd/kern/kern_event.c,
/// filt_procattach).
pub(crate) fn register(
    system: System,
    mut add: impl FnMut(Interest) -> io::Result<()>,
) -> io::Result<Interest> {
    if system == System::Apple {
        match add(Interest::ExitStatus) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => return result.map(|()| Interest::ExitStatus),
        }
    }
    add(Interest::Exit).map(|()| Interest::Exit)
}

/// What the answer to a change says: an error, success (`None`), or an event, if the kernel does
/// not know receipts. It is no error if there was nothing to delete.
pub(crate) fn receipt(event: RawEvent) -> io::Result<Option<RawEvent>> {
    match (event.is_error, event.data) {
        (false, _) => Ok(Some(event)),
        (true, 0 | ENOENT) => Ok(None),
        (true, errno) => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}

/// Whether the process table is read after a registration, for an exit during it. Apple's kernel
/// withholds the exit of a traced process. FreeBSD's skips a knote that is just being registered
/// (sys/kern/kern_event.c, knote). DragonFly's also registers zombies, so only the table
/// distinguishes a later process with the same pid.
///
/// Elsewhere, the null signal is sent: OpenBSD's kernel ends a program that reads the table after it
/// has pledged not to (pledge(2)).
pub(crate) fn reads_process_table(system: System) -> bool {
    !matches!(system, System::NetBsd | System::OpenBsd)
}

/// Whether the kernel reports some exits late or never: Apple's reports that of a traced process
/// only to its tracer, until the tracer reaps it (XNU, bsd/kern/kern_exit.c).
pub(crate) fn can_miss_exits(system: System) -> bool {
    system == System::Apple
}

/// Whether a program can trigger events itself (EVFILT_USER). NetBSD has that since version 10,
/// OpenBSD since 7.8 (kqueue(2)).
pub(crate) fn has_user_events(system: System) -> bool {
    !matches!(system, System::NetBsd | System::OpenBsd)
}

/// The data of the exit of `pid`, if the event is that.
pub(crate) fn exit_data(event: RawEvent, pid: u32) -> io::Result<Option<i64>> {
    if event.pid == Some(pid) {
        Ok(receipt(event)?.map(|event| event.data))
    } else {
        Ok(None)
    }
}

/// How the process exited, by the data of the event. If the kernel was not asked for the status, it
/// is unknown: the pid could lead to another process.
pub(crate) fn exit(system: System, interest: Interest, data: i64) -> Exit {
    match (system, interest) {
        (System::Apple, Interest::Exit) => Exit::UNKNOWN,
        // A wait status has 16 bits. Above them are Apple's flags, or more bits of the number that
        // was passed to `exit`, on systems that do not cut it.
        _ => Exit::from_raw((data & 0xFFFF) as _),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [System; 4] = [
        System::DragonFly,
        System::FreeBsd,
        System::NetBsd,
        System::OpenBsd,
    ];
    const EACCES: i32 = 13;
    const ESRCH: i32 = 3;

    /// The interests that are tried if the kernel refuses those that `refuse` gives an errno for,
    /// and the result.
    fn tried(
        system: System,
        refuse: impl Fn(Interest) -> Option<i32>,
    ) -> (Vec<Interest>, Result<Interest, Option<i32>>) {
        let mut tried = Vec::new();
        let result = register(system, |interest| {
            tried.push(interest);
            refuse(interest).map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
        });
        (tried, result.map_err(|error| error.raw_os_error()))
    }

    #[test]
    fn only_apple_is_asked_for_the_status() {
        use Interest::{Exit, ExitStatus};
        for system in OTHERS {
            assert_eq!(tried(system, |_| None), (vec![Exit], Ok(Exit)));
            let refused = tried(system, |_| Some(EACCES));
            assert_eq!(refused, (vec![Exit], Err(Some(EACCES))));
        }
        let apple = |refuse: &dyn Fn(Interest) -> Option<i32>| tried(System::Apple, refuse);
        assert_eq!(apple(&|_| None), (vec![ExitStatus], Ok(ExitStatus)));
        let no_status = |interest| (interest == ExitStatus).then_some(EACCES);
        assert_eq!(apple(&no_status), (vec![ExitStatus, Exit], Ok(Exit)));
        let refused = apple(&|_| Some(ESRCH));
        assert_eq!(refused, (vec![ExitStatus], Err(Some(ESRCH))));
    }

    #[test]
    fn events_receipts_and_errors() {
        let exit = RawEvent {
            pid: Some(42),
            is_error: false,
            data: 7 << 8,
        };
        assert_eq!(exit_data(exit, 42).unwrap(), Some(7 << 8));
        assert_eq!(exit_data(exit, 43).unwrap(), None);
        // A descriptor with the number 42 that has become readable.
        let readable = RawEvent { pid: None, ..exit };
        assert_eq!(exit_data(readable, 42).unwrap(), None);
        // Instead of a receipt.
        assert_eq!(receipt(exit).unwrap(), Some(exit));

        let error = |data| RawEvent {
            is_error: true,
            data,
            ..exit
        };
        assert_eq!(exit_data(error(0), 42).unwrap(), None);
        assert_eq!(receipt(error(0)).unwrap(), None);
        assert_eq!(receipt(error(ENOENT)).unwrap(), None, "nothing to delete");
        let refused = exit_data(error(ESRCH.into()), 42).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(ESRCH));
    }

    #[test]
    fn status_in_the_data() {
        let status = |raw| Exit::from_raw(raw);
        for system in OTHERS {
            assert_eq!(exit(system, Interest::Exit, 7 << 8), status(7 << 8));
            assert_eq!(exit(system, Interest::Exit, 0), status(0));
            assert_eq!(exit(system, Interest::Exit, 0x80 | 11), status(0x80 | 11));
            // exit(0x107), whose upper bits FreeBSD and NetBSD keep.
            assert_eq!(exit(system, Interest::Exit, 0x107 << 8), status(7 << 8));
        }
        // With NOTE_EXIT_DETAIL's flags above the status.
        let detailed = exit(System::Apple, Interest::ExitStatus, 0x0001_0000 | (7 << 8));
        assert_eq!(detailed, status(7 << 8));
        assert_eq!(exit(System::Apple, Interest::Exit, 7 << 8), Exit::UNKNOWN);
        assert_eq!(exit(System::Apple, Interest::Exit, 0), Exit::UNKNOWN);
    }
}
