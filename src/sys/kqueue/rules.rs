//! What kqueue's answers mean, system by system. Apart from the calls, so that
//! every case can be tested on any system.

use crate::Exit;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // All but one are of other systems.
pub(crate) enum System {
    Apple,
    DragonFly,
    FreeBsd,
    NetBsd,
    OpenBsd,
}

/// What the kernel was asked to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Exit,
    /// `NOTE_EXITSTATUS`, which only Apple systems have.
    ExitAndStatus,
}

/// What `kevent` handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// The process that it is about; `None` if that is something else, a
    /// descriptor of the same number perhaps.
    pub(crate) of: Option<u32>,
    /// `EV_ERROR`: the data is an errno.
    pub(crate) is_error: bool,
    pub(crate) data: i64,
}

const ENOENT: i64 = 2;

/// Registers a process by means of `add`.
///
/// Apple's kernel tells the status of one's children and of what one may signal.
/// Of others it tells the exit if it is not asked for more.
pub(crate) fn register(
    system: System,
    mut add: impl FnMut(Asked) -> io::Result<()>,
) -> io::Result<Asked> {
    if system == System::Apple {
        match add(Asked::ExitAndStatus) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            answer => return answer.map(|()| Asked::ExitAndStatus),
        }
    }
    add(Asked::Exit).map(|()| Asked::Exit)
}

/// The answer to a change: an error, or no news, or (where the kernel has no receipts) an
/// event, which is lost if nobody takes it. That there was nothing to delete is no news.
pub(crate) fn receipt(event: Event) -> io::Result<Option<Event>> {
    match (event.is_error, event.data) {
        (false, _) => Ok(Some(event)),
        (true, 0 | ENOENT) => Ok(None),
        (true, errno) => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}

/// How to look once more at a process that was registered without an error, for an exit
/// that fell in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecondLook {
    /// By the process table, which shows a zombie. Apple's kernel withholds the exit of a traced
    /// process; FreeBSD's skips, for an exit, what is just being registered; DragonFly's also
    /// registers zombies, so only the table distinguishes a later process with the same pid.
    Table,
    /// By the null signal. To read the table may be against a promise on OpenBSD, whose
    /// kernel ends those who break theirs.
    NullSignal,
}

pub(crate) fn second_look(system: System) -> SecondLook {
    match system {
        System::Apple | System::DragonFly | System::FreeBsd => SecondLook::Table,
        System::NetBsd | System::OpenBsd => SecondLook::NullSignal,
    }
}

/// Whether the kernel will tell of the exit: the process was running after it was
/// registered, or the event is here already.
///
/// If not, there is nothing to wait for. Where nobody tells whether it was running, as
/// in a sandbox, the registration is all there is to go by.
pub(crate) fn is_in_time(
    was_running: Option<bool>,
    has_fired: impl FnOnce() -> io::Result<bool>,
) -> io::Result<bool> {
    Ok(was_running != Some(false) || has_fired()?)
}

/// Whether there are exits that the kernel tells late or never: Apple's keeps that of a
/// traced process from all but its tracer until that reaps it.
pub(crate) fn may_not_tell(system: System) -> bool {
    system == System::Apple
}

/// Whether there are events that a program triggers itself. NetBSD has them since its
/// version 10, OpenBSD since 7.8.
pub(crate) fn has_user_events(system: System) -> bool {
    !matches!(system, System::NetBsd | System::OpenBsd)
}

/// The data of the exit of `pid`, if that is what the event tells.
pub(crate) fn exit_data(event: Event, pid: u32) -> io::Result<Option<i64>> {
    match event.of == Some(pid) {
        true => Ok(receipt(event)?.map(|event| event.data)),
        false => Ok(None),
    }
}

/// How the process exited, by what came with the event. To look for it elsewhere, if the
/// kernel was not asked, would be to ask by a number that is another process's perhaps.
pub(crate) fn exit(system: System, asked: Asked, data: i64) -> Exit {
    match (system, asked) {
        (System::Apple, Asked::Exit) => Exit::UNKNOWN,
        // A wait status has 16 bits. Above are Apple's flags, or, on systems that do not
        // cut it, more of the number that was given to `exit`.
        _ => Exit::from_raw((data & 0xFFFF) as _),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [System; 5] = [
        System::Apple,
        System::DragonFly,
        System::FreeBsd,
        System::NetBsd,
        System::OpenBsd,
    ];

    const EACCES: i32 = 13;
    const ESRCH: i32 = 3;

    fn errno(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn only_apple_is_asked_for_the_status() {
        for system in ALL {
            let mut asked = Vec::new();
            let answer = register(system, |what| {
                asked.push(what);
                Ok(())
            });
            let expected = match system {
                System::Apple => Asked::ExitAndStatus,
                _ => Asked::Exit,
            };
            assert_eq!(asked, [expected]);
            assert_eq!(answer.unwrap(), expected);
        }
    }

    #[test]
    fn a_status_that_is_denied_is_not_asked_for_again() {
        let mut asked = Vec::new();
        let answer = register(System::Apple, |what| {
            asked.push(what);
            match what {
                Asked::ExitAndStatus => Err(errno(EACCES)),
                Asked::Exit => Ok(()),
            }
        });
        assert_eq!(asked, [Asked::ExitAndStatus, Asked::Exit]);
        assert_eq!(answer.unwrap(), Asked::Exit);
    }

    #[test]
    fn other_errors_of_registering_are_for_the_probe() {
        // No such process, which on macOS may be one that is just exiting, or a
        // refusal of the exit itself, as on NetBSD for a stranger's process.
        for system in ALL {
            for code in [ESRCH, EACCES] {
                let mut calls = 0;
                let answer = register(system, |_| {
                    calls += 1;
                    Err(errno(code))
                });
                assert_eq!(answer.unwrap_err().raw_os_error(), Some(code));
                let asks_twice = system == System::Apple && code == EACCES;
                assert_eq!(calls, if asks_twice { 2 } else { 1 });
            }
        }
    }

    #[test]
    fn an_exit_between_registering_and_looking() {
        assert!(is_in_time(Some(true), || unreachable!("it can still come")).unwrap());
        assert!(is_in_time(Some(false), || Ok(true)).unwrap());
        assert!(!is_in_time(Some(false), || Ok(false)).unwrap());
        assert!(is_in_time(Some(false), || Err(errno(EACCES))).is_err());
        // What Capsicum answers to the null signal is no word about the process.
        assert!(is_in_time(None, || unreachable!("it can still come")).unwrap());
    }

    #[test]
    fn events_of_others_are_none_of_ours() {
        let event = Event {
            of: Some(42),
            is_error: false,
            data: 7 << 8,
        };
        assert_eq!(exit_data(event, 42).unwrap(), Some(7 << 8));
        assert_eq!(exit_data(event, 43).unwrap(), None);
        // A descriptor with the number 42 that has become readable.
        let readable = Event { of: None, ..event };
        assert_eq!(exit_data(readable, 42).unwrap(), None);
    }

    #[test]
    fn an_error_event_is_an_error_and_a_receipt_is_none() {
        let event = |data| Event {
            of: Some(42),
            is_error: true,
            data,
        };
        assert_eq!(exit_data(event(0), 42).unwrap(), None);
        assert_eq!(receipt(event(0)).unwrap(), None);
        assert_eq!(receipt(event(ENOENT)).unwrap(), None, "nothing to delete");
        assert!(receipt(event(ESRCH.into())).is_err());
        let error = exit_data(event(ESRCH.into()), 42).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ESRCH));
    }

    #[test]
    fn an_event_instead_of_a_receipt_is_kept() {
        let exit = Event {
            of: Some(42),
            is_error: false,
            data: 7 << 8,
        };
        assert_eq!(receipt(exit).unwrap(), Some(exit));
    }

    #[test]
    fn what_the_data_means() {
        let code = |system, asked, data| exit(system, asked, data).code();
        let seven = 7 << 8;
        for system in ALL {
            let asked = match system {
                System::Apple => Asked::ExitAndStatus,
                _ => Asked::Exit,
            };
            assert_eq!(code(system, asked, seven), Some(7));
            // A 0 is a 0.
            assert_eq!(code(system, asked, 0), Some(0));
        }
        // What was not asked for is not told.
        for data in [seven, 0] {
            assert_eq!(exit(System::Apple, Asked::Exit, data), Exit::UNKNOWN);
        }
        // With NOTE_EXIT_DETAIL's flags above the status.
        let detailed = 0x0001_0000 | seven;
        assert_eq!(code(System::Apple, Asked::ExitAndStatus, detailed), Some(7));
        // exit(0x107), whose upper bits FreeBSD and NetBSD keep.
        let wide = 0x107 << 8;
        assert_eq!(code(System::FreeBsd, Asked::Exit, wide), Some(7));
    }

    #[test]
    #[cfg(unix)]
    fn a_signal_and_a_core_dump() {
        let exit = exit(System::FreeBsd, Asked::Exit, 0x80 | 11);
        assert_eq!(exit.to_string(), "killed by signal 11 (core dumped)");
    }
}
