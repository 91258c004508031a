//! What `/proc/PID/psinfo` of illumos and Solaris means. Apart from the calls, so that
//! every case can be tested on any system.

use crate::{
    Exit,
    sys::{Child, Look},
};

/// `struct psinfo` of `sys/procfs.h`, as the kernel shows it to 64-bit programs. It
/// was the same in OpenSolaris and in Solaris 11, and ends with spare room, so that a
/// later one of this length has these fields where they were. One of another length is
/// not believed, and its process is polled.
pub(crate) const LENGTH: usize = 416;
const PR_NLWP: usize = 4;
const PR_PID: usize = 8;
const PR_WSTAT: usize = 232;
/// `pr_lwp.pr_sname`.
const PR_SNAME: usize = 314;

/// What we need of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Psinfo {
    pub(crate) pid: u32,
    /// It has no thread left. Its files may still be open, and its status not be set.
    is_zombie: bool,
    wait_status: i32,
}

impl Psinfo {
    /// `None`: it is something else.
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

    /// What this shows, and `child`, which was asked *before*: the pid was still this
    /// process's after that.
    pub(crate) fn look(&self, child: Child) -> Look {
        match (child, self.is_zombie) {
            (Child::Exited(exit), _) => Look::Exited(exit),
            (_, false) => Look::Running,
            (Child::NotOurs, true) => Look::Exited(self.exit().unwrap_or(Exit::UNKNOWN)),
            // Its parent cannot reap it before the status is set.
            (Child::Running | Child::Stopped, true) => {
                self.exit().map_or(Look::Running, Look::Exited)
            }
        }
    }

    /// How the zombie exited. `None`: the status is 0, which may mean that it is not set
    /// yet, or is that of an earlier stop, which is no exit.
    fn exit(&self) -> Option<Exit> {
        let is_stop = self.wait_status & 0x7F == 0x7F;
        (self.wait_status != 0 && !is_stop).then(|| Exit::from_raw(self.wait_status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_pointer_width = "64")]
    use std::mem::{offset_of, size_of};

    /// As the header has it, with `pid_t`, `id_t` and the like as `i32`, and `uintptr_t`,
    /// `size_t`, `dev_t`, `time_t` and `long` as `isize`.
    #[repr(C)]
    #[cfg(target_pointer_width = "64")]
    struct Header {
        pr_flag: i32,
        pr_nlwp: i32,
        pr_pid: i32,
        ppid_pgid_sid: [i32; 3],
        uids_gids: [i32; 4],
        addr_size_rssize_pad1_ttydev: [isize; 5],
        pctcpu_pctmem: [u16; 2],
        start_time_ctime: [[isize; 2]; 3],
        pr_fname: [u8; 16],
        pr_psargs: [u8; 80],
        pr_wstat: i32,
        pr_argc: i32,
        argv_envp: [isize; 2],
        dmodel_pad2: [u8; 4],
        taskid_projid_nzomb_poolid_zoneid_contract_filler: [i32; 7],
        pr_lwp: Lwp,
    }

    #[repr(C)]
    #[cfg(target_pointer_width = "64")]
    struct Lwp {
        flag_lwpid: [i32; 2],
        addr_wchan: [isize; 2],
        stype_state: [u8; 2],
        pr_sname: u8,
        pr_nice: u8,
        pr_syscall: i16,
        oldpri_cpu: [u8; 2],
        pr_pri: i32,
        pctcpu_pad: [u16; 2],
        start_time: [[isize; 2]; 2],
        pr_clname: [u8; 8],
        pr_name: [u8; 16],
        onpro_bindpro_bindpset_lgrp: [i32; 4],
        pr_filler: [i32; 4],
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_places_are_the_headers() {
        assert_eq!(size_of::<Header>(), LENGTH);
        assert_eq!(offset_of!(Header, pr_nlwp), PR_NLWP);
        assert_eq!(offset_of!(Header, pr_pid), PR_PID);
        assert_eq!(offset_of!(Header, pr_wstat), PR_WSTAT);
        assert_eq!(offset_of!(Header, pr_lwp.pr_sname), PR_SNAME);
    }

    fn psinfo(threads: i32, state: u8, wait_status: i32) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        let mut put = |at: usize, int: i32| bytes[at..at + 4].copy_from_slice(&int.to_ne_bytes());
        put(PR_NLWP, threads);
        put(PR_PID, 4711);
        put(PR_WSTAT, wait_status);
        bytes[PR_SNAME] = state;
        bytes
    }

    fn look(bytes: &[u8], child: Child) -> Look {
        Psinfo::parse(bytes).unwrap().look(child)
    }

    fn zombie(wait_status: i32, child: Child) -> Look {
        look(&psinfo(0, b'Z', wait_status), child)
    }

    const SEVEN: i32 = 7 << 8;
    const STRANGER_OR_CHILD: [Child; 3] = [Child::NotOurs, Child::Running, Child::Stopped];

    #[test]
    fn a_process_with_threads_has_not_exited() {
        for child in STRANGER_OR_CHILD {
            for (threads, state) in [(1, b'S'), (2, b'O'), (1, b'T'), (1, b'Z'), (0, 0)] {
                // Nor does the status of an earlier stop mean anything.
                let look = look(&psinfo(threads, state, 0x137F), child);
                assert_eq!(look, Look::Running, "{threads} {state}");
            }
        }
    }

    #[test]
    fn a_zombie_with_a_status() {
        for status in [SEVEN, 9, 0x80 | 11, 127 << 8, 255 << 8] {
            let expected = Look::Exited(Exit::from_raw(status));
            for child in STRANGER_OR_CHILD {
                assert_eq!(zombie(status, child), expected);
            }
        }
    }

    #[test]
    fn a_strangers_status_of_zero_may_not_be_set_yet() {
        assert_eq!(zombie(0, Child::NotOurs), Look::Exited(Exit::UNKNOWN));
    }

    #[test]
    fn the_status_of_an_earlier_stop_is_none() {
        // Stopped by signal 19, trapped, continued.
        for status in [0x137F, 0x057F, 0xFFFF] {
            assert_eq!(zombie(status, Child::NotOurs), Look::Exited(Exit::UNKNOWN));
            assert_eq!(zombie(status, Child::Running), Look::Running);
        }
    }

    #[test]
    fn a_child_has_exited_once_it_can_be_reaped() {
        assert_eq!(zombie(0, Child::Running), Look::Running);
        assert_eq!(zombie(0, Child::Stopped), Look::Running);
        for status in [0, SEVEN, 9] {
            let exit = Exit::from_raw(status);
            // The status that the parent is told counts.
            assert_eq!(zombie(0, Child::Exited(exit)), Look::Exited(exit));
        }
    }

    #[test]
    fn what_has_another_length_is_not_believed() {
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
