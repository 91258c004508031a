//! What `/proc/PID/psinfo` of illumos and Solaris means (proc(5)). It makes no calls, so it is
//! tested on Linux.

use crate::{
    Exit,
    sys::{ChildState, State},
};

/// `struct psinfo` of `sys/procfs.h`, as the kernel shows it to 64-bit programs. It was the same in
/// OpenSolaris and in Solaris 11, and ends with reserved space, so that a later one of this length
/// has these fields at the same offsets. One of another length is not used.
pub(crate) const LENGTH: usize = 416;
const PR_NLWP: usize = 4;
const PR_PID: usize = 8;
const PR_WSTAT: usize = 232;
/// `pr_lwp.pr_sname`.
const PR_SNAME: usize = 314;

/// The fields that we need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Psinfo {
    pub(crate) pid: u32,
    /// It has no threads left. Its files may still be open, and its status may not be set yet.
    is_zombie: bool,
    wait_status: i32,
}

impl Psinfo {
    /// `None` if it has another layout.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Psinfo> {
        if bytes.len() != LENGTH {
            return None;
        }
        let int = |at| Some(i32::from_ne_bytes(*bytes[at..].first_chunk()?));
        Some(Psinfo {
            pid: u32::try_from(int(PR_PID)?).ok()?,
            is_zombie: int(PR_NLWP)? == 0 && bytes[PR_SNAME] == b'Z',
            wait_status: int(PR_WSTAT)?,
        })
    }

    /// `child` was read before the file: as the file could still be read, the pid was this
    /// process's then.
    pub(crate) fn state(&self, child: ChildState) -> State {
        match (child, self.is_zombie) {
            (ChildState::Exited(exit), _) => State::Exited(exit),
            (_, false) => State::Running,
            (ChildState::NotAChild, true) => State::Exited(self.exit().unwrap_or(Exit::UNKNOWN)),
            // Its parent cannot reap it before the status is set.
            (ChildState::Running | ChildState::Stopped, true) => {
                self.exit().map_or(State::Running, State::Exited)
            }
        }
    }

    /// How the zombie exited. `None` if the status is 0, which can mean that it is not set yet, or
    /// that of an earlier stop.
    fn exit(&self) -> Option<Exit> {
        let is_stop = self.wait_status & 0x7F == 0x7F;
        (self.wait_status != 0 && !is_stop).then(|| Exit::from_raw(self.wait_status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn psinfo(threads: i32, state: u8, wait_status: i32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let mut put = |at: usize, int: i32| bytes[at..at + 4].copy_from_slice(&int.to_ne_bytes());
        put(PR_NLWP, threads);
        put(PR_PID, 4711);
        put(PR_WSTAT, wait_status);
        bytes[PR_SNAME] = state;
        bytes
    }

    fn zombie(wait_status: i32, child: ChildState) -> State {
        Psinfo::parse(&psinfo(0, b'Z', wait_status))
            .unwrap()
            .state(child)
    }

    const SEVEN: i32 = 7 << 8;
    const NO_ZOMBIE: [ChildState; 3] = [
        ChildState::NotAChild,
        ChildState::Running,
        ChildState::Stopped,
    ];

    #[test]
    fn process_with_threads_has_not_exited() {
        for child in NO_ZOMBIE {
            for (threads, state) in [(1, b'S'), (2, b'O'), (1, b'T'), (1, b'Z'), (0, 0)] {
                // With the status of an earlier stop.
                let psinfo = Psinfo::parse(&psinfo(threads, state, 0x137F)).unwrap();
                assert_eq!(psinfo.state(child), State::Running, "{threads} {state}");
            }
        }
    }

    #[test]
    fn status_of_a_zombie() {
        let unknown = State::Exited(Exit::UNKNOWN);
        for status in [SEVEN, 9, 0x80 | 11, 127 << 8, 255 << 8] {
            let exited = State::Exited(Exit::from_raw(status));
            for child in NO_ZOMBIE {
                assert_eq!(zombie(status, child), exited);
            }
            // What the parent can learn takes precedence.
            assert_eq!(
                zombie(0, ChildState::Exited(Exit::from_raw(status))),
                exited
            );
        }
        // Not set yet; stopped by signal 19, trapped, continued.
        for status in [0, 0x137F, 0x057F, 0xFFFF] {
            assert_eq!(zombie(status, ChildState::NotAChild), unknown);
            assert_eq!(zombie(status, ChildState::Running), State::Running);
            assert_eq!(zombie(status, ChildState::Stopped), State::Running);
        }
    }

    #[test]
    fn other_layouts_are_refused() {
        let whole = psinfo(0, b'Z', SEVEN);
        assert_eq!(Psinfo::parse(&whole).unwrap().pid, 4711);
        for length in 0..LENGTH {
            assert_eq!(Psinfo::parse(&whole[..length]), None);
        }
        assert_eq!(Psinfo::parse(&[&whole[..], &[0]].concat()), None);
        let mut negative = whole;
        negative[PR_PID..PR_PID + 4].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(Psinfo::parse(&negative), None);
    }
}
