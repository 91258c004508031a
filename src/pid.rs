//! Valid pids.

use crate::Error;
use std::num::NonZeroU32;

/// A pid that this OS can give to a process: not 0, and on Unix not above `i32::MAX`, which would be
/// negative as a `pid_t`. Unix takes 0 and negative numbers for process groups (kill(2)), so they
/// must never get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pid(NonZeroU32);

impl Pid {
    pub(crate) fn new(pid: u32) -> Result<Pid, Error> {
        NonZeroU32::new(pid)
            .filter(|pid| cfg!(windows) || i32::try_from(pid.get()).is_ok())
            .map(Pid)
            .ok_or(Error::InvalidPid { pid })
    }

    pub(crate) fn get(self) -> u32 {
        self.0.get()
    }

    /// As rustix takes it.
    #[cfg(unix)]
    pub(crate) fn raw(self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(self.get() as _).expect("not zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_negative_pids_are_invalid() {
        assert!(matches!(Pid::new(0), Err(Error::InvalidPid { pid: 0 })));
        assert_eq!(Pid::new(1).unwrap().get(), 1);
        assert!(Pid::new(i32::MAX as u32).is_ok());
        for pid in [i32::MAX as u32 + 1, u32::MAX] {
            assert_eq!(Pid::new(pid).is_ok(), cfg!(windows));
        }
    }
}
