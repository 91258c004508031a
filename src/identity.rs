//! `Identity`: distinguishes a process from all others, also after a restart of the program.

use crate::{
    Error, Process,
    pid::Pid,
    sys::{self, BOOT_IS_TIME, Scope},
};
use std::{fmt, io, str::FromStr};

/// Distinguishes a process from any other: its pid, when it started, and in which boot of the system.
///
/// It can be stored as text, one word, and found again after a restart of the program, when a bare
/// pid may be another process's. Everyone who asks about a process gets the same, whatever the
/// [backend](Process::backend).
///
/// | system | an identity consists of |
/// |---|---|
/// | Linux, Android | pid and [pid namespace], start time in clock ticks (usually 10 ms), [boot id] |
/// | macOS, DragonFly, illumos, Solaris | pid, start time in microseconds |
/// | FreeBSD | pid, start time in microseconds since the boot, boot id |
/// | OpenBSD | pid, start time in microseconds since the boot, time of the boot |
/// | NetBSD | pid, start time as of the last clock tick (usually 10 ms) |
/// | Windows | pid, start time in units of 100 ns |
/// | iOS, other Unix | not available |
///
/// [`Process::identity`] lists when it is not available.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use procwait::{Identity, Process};
/// use std::process::Command;
///
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// let process = Process::open(child.id())?;
/// # let Some(_) = process.identity() else { return Ok(()) };
/// let identity = process.identity().ok_or("the system does not show it")?;
/// let text = identity.to_string(); // to be stored in a file
/// drop(process);
///
/// // Later, perhaps in another program:
/// let identity: Identity = text.parse()?;
/// match Process::open_identity(&identity) {
///     Ok(process) => process.kill()?, // the same process
///     Err(procwait::Error::NotFound { .. }) => println!("it has exited"),
///     Err(error) => return Err(error.into()), // it is not known whether it has exited
/// }
/// # child.wait()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [boot id]: https://man7.org/linux/man-pages/man4/random.4.html
/// [pid namespace]: https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    pid: Pid,
    start_time: u64,
    scope: Scope,
}

/// A text is not that of an [`Identity`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the identity of a process")]
pub struct ParseIdentityError(());

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Scope {
            boot,
            pid_namespace,
        } = self.scope;
        let (pid, start_time) = (self.pid.get(), self.start_time);
        // The last field has a fixed length, so that text that is cut off is no identity.
        write!(f, "{pid}-{start_time}-{pid_namespace}-{boot:032x}")
    }
}

/// Only of what `Display` writes.
impl FromStr for Identity {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Identity, ParseIdentityError> {
        let identity = parse(text).ok_or(ParseIdentityError(()))?;
        // Numbers can also be written with signs and leading zeros.
        if identity.to_string() == text {
            Ok(identity)
        } else {
            Err(ParseIdentityError(()))
        }
    }
}

fn parse(text: &str) -> Option<Identity> {
    let mut fields = text.splitn(4, '-');
    Some(Identity {
        pid: Pid::new(fields.next()?.parse().ok()?).ok()?,
        start_time: fields.next()?.parse().ok()?,
        scope: Scope {
            pid_namespace: fields.next()?.parse().ok()?,
            boot: u128::from_str_radix(fields.next()?, 16).ok()?,
        },
    })
}

impl Process {
    /// The identity of this process, which distinguishes it from any other, also after a restart of this
    /// program.
    ///
    /// `None` if the OS does not show it:
    /// - after the process has been reaped, unless this was called before,
    /// - if [the pid](Process::pid) is not known,
    /// - on Linux if `/proc` does not show the process (`hidepid`), is of another pid namespace, or
    ///   has no boot id; in a [time namespace], where start times are shifted; and on Linux 5.3 and
    ///   5.4, unless the process is polled,
    /// - on macOS for processes of other users, unless you are root; on NetBSD and OpenBSD for
    ///   zombies; on FreeBSD in capability mode (Capsicum), and before version 13,
    /// - on Windows if you may not query the process,
    /// - on [systems](Identity) without any.
    ///
    /// On OpenBSD, this needs the promise "ps" of pledge(2). Without it, the kernel ends the program.
    ///
    /// [time namespace]: https://man7.org/linux/man-pages/man7/time_namespaces.7.html
    pub fn identity(&self) -> Option<Identity> {
        if let Some(known) = self.identity.get() {
            return Some(known.clone());
        }
        let identity = Identity {
            pid: self.shared.pid?,
            start_time: self.shared.start_time()?,
            scope: sys::scope()?,
        };
        Some(self.identity.get_or_init(|| identity).clone())
    }

    /// Opens the process with this identity.
    ///
    /// If it has exited, and has not been reaped (it is a zombie), it can still be opened.
    ///
    /// On Linux and NetBSD, two processes have the same identity if the second one has got the pid of
    /// the first one within a clock tick (10 ms) of its start. That takes a system that starts and ends
    /// as many processes as it has pids within that time.
    ///
    /// # Errors
    ///
    /// - [`Error::NotFound`] if the process has been reaped, or was one of another boot. Another
    ///   process may have its pid.
    /// - [`Error::Os`] if that cannot be determined. The process may still be running, so do not
    ///   start another one. The cause can be that the OS does not show the identity (see
    ///   [`identity`](Process::identity)); that the identity is of another pid namespace, as that of a
    ///   container that has been started again; and on OpenBSD, that the clock was set.
    pub fn open_identity(identity: &Identity) -> Result<Process, Error> {
        let pid = identity.pid;
        let not_found = || Error::NotFound { pid: pid.get() };
        let unknown = |reason| Error::os("open_identity", pid, io::Error::other(reason));

        let scope = sys::scope().ok_or_else(|| unknown("processes have no identity here"))?;
        let is_other_boot = scope.boot != identity.scope.boot;
        if is_other_boot && !BOOT_IS_TIME {
            return Err(not_found());
        }
        if scope.pid_namespace != identity.scope.pid_namespace {
            return Err(unknown("the identity is of another pid namespace"));
        }
        let process = Process::open(pid.get())?;
        let Some(start_time) = process.shared.start_time() else {
            let is_reaped = process.try_wait()?.is_some() && process.shared.zombie_is_reaped();
            return Err(if is_reaped {
                not_found()
            } else {
                unknown("the system does not show when the process started")
            });
        };
        // Times since the boot may be rounded differently once the time of the boot has moved.
        if start_time.abs_diff(identity.start_time) > u64::from(is_other_boot) {
            return Err(not_found());
        }
        if is_other_boot {
            return Err(unknown(
                "the clock has been set, or the system was booted again",
            ));
        }
        let _ = process.identity.set(identity.clone());
        Ok(process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT_ID: u128 = 0x0b5e_8a1c_23f4_4d6e_8f90_a1b2_c3d4_e5f6;

    fn identity(pid: u32, start_time: u64, pid_namespace: u64, boot: u128) -> Identity {
        Identity {
            pid: Pid::new(pid).unwrap(),
            start_time,
            scope: Scope {
                boot,
                pid_namespace,
            },
        }
    }

    #[test]
    fn text_of_an_identity() {
        for (identity, text) in [
            (
                identity(4711, 987_654, 4_026_531_836, BOOT_ID),
                "4711-987654-4026531836-0b5e8a1c23f44d6e8f90a1b2c3d4e5f6",
            ),
            (
                identity(4711, 133_772_841_945_123_456, 0, 0),
                "4711-133772841945123456-0-00000000000000000000000000000000",
            ),
            (
                identity(i32::MAX as u32, u64::MAX, u64::MAX, u128::MAX),
                "2147483647-18446744073709551615-18446744073709551615-\
                 ffffffffffffffffffffffffffffffff",
            ),
        ] {
            assert_eq!(identity.to_string(), text);
            assert_eq!(text.parse(), Ok(identity));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let boot = "0b5e8a1c23f44d6e8f90a1b2c3d4e5f6";
        assert!(format!("1-1-0-{boot}").parse::<Identity>().is_ok());
        let (upper, short) = (boot.to_uppercase(), &boot[1..]);
        for text in [
            String::new(),
            boot.to_owned(),
            format!("1-1-{boot}"),
            format!("0-1-0-{boot}"),
            format!("-1-1-0-{boot}"),
            format!("+1-1-0-{boot}"),
            format!("01-1-0-{boot}"),
            format!("1-+1-0-{boot}"),
            format!("1-1-00-{boot}"),
            format!("1-18446744073709551616-0-{boot}"),
            format!("\u{661}-1-0-{boot}"),
            format!(" 1-1-0-{boot}"),
            format!("1-1-0-{boot}\n"),
            format!("1-1-0-{boot}-0"),
            format!("1-1-0-0{boot}"),
            format!("1-1-0-1{boot}"),
            format!("1-1-0-{short}"),
            format!("1-1-0-+{short}"),
            format!("1-1-0-{upper}"),
        ] {
            assert_eq!(
                text.parse::<Identity>(),
                Err(ParseIdentityError(())),
                "{text:?}"
            );
        }
    }

    #[cfg(target_os = "linux")]
    mod properties {
        use super::*;
        use proptest::prelude::*;

        fn any_identity() -> impl Strategy<Value = Identity> {
            (
                1..=i32::MAX as u32,
                any::<u64>(),
                any::<u64>(),
                any::<u128>(),
            )
                .prop_map(|(pid, start_time, namespace, boot)| {
                    identity(pid, start_time, namespace, boot)
                })
        }

        proptest! {
            #![proptest_config(ProptestConfig {
                failure_persistence: None,
                ..ProptestConfig::default()
            })]

            #[test]
            fn no_prefix_is_an_identity(identity in any_identity()) {
                let text = identity.to_string();
                prop_assert!(!text.contains(char::is_whitespace));
                prop_assert_eq!(text.parse(), Ok(identity));
                for length in 0..text.len() {
                    prop_assert!(text[..length].parse::<Identity>().is_err());
                }
            }

            #[test]
            fn changed_text_is_no_identity_or_another(
                identity in any_identity(),
                index: prop::sample::Index,
                replacement: char,
            ) {
                let text = identity.to_string();
                let index = index.index(text.len());
                let changed = format!("{}{replacement}{}", &text[..index], &text[index + 1..]);
                prop_assume!(changed != text);
                if let Ok(other) = changed.parse::<Identity>() {
                    prop_assert_eq!(other.to_string(), changed);
                    prop_assert_ne!(other, identity);
                }
            }

            #[test]
            fn any_text_is_refused_or_canonical(text in "[0-9a-f-]{0,60}|.*") {
                if let Ok(identity) = text.parse::<Identity>() {
                    prop_assert_eq!(identity.to_string(), text);
                }
            }
        }
    }
}
