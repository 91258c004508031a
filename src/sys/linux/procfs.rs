//! The files of `/proc`, read without a heap.

use crate::{
    pid::Pid,
    sys::fd::{Descriptor, above_standard_streams},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    fs::{CWD, Mode, OFlags, open, readlinkat_raw},
    io::{Errno, Result, pread, retry_on_intr},
};
use std::{ffi::CStr, fmt, io::Write as _, process, str};

/// `/proc/PID/stat`, open. It is bound to the process and not to the number: once
/// the process has been reaped, reading it fails with `ESRCH`, whoever has the
/// number then.
#[derive(Debug)]
pub(crate) struct StatFile(Descriptor);

impl StatFile {
    pub(crate) fn open(pid: Pid) -> Result<StatFile> {
        let file = open_file(format_args!("/proc/{}/stat", pid.get()))?;
        Ok(StatFile(above_standard_streams(file)?.into()))
    }

    /// `EAGAIN`: what it shows makes no sense for now, see `Stat::is_in_between`.
    pub(crate) fn read(&self) -> Result<Stat> {
        for _ in 0..4 {
            let mut buffer = [0; 2048];
            let stat = self.0.ask(|file| read_start(file.as_fd(), &mut buffer))?;
            let stat = Stat::parse(stat).ok_or(Errno::IO)?;
            if !stat.is_in_between() {
                return Ok(stat);
            }
        }
        Err(Errno::AGAIN)
    }

    /// What was read was another file, as somebody has closed this one.
    pub(crate) fn lose(&self) {
        self.0.lose();
    }
}

impl AsFd for StatFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What we need of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    state: u8,
    /// The pid of its parent, of the same pid namespace as `pid`.
    pub(crate) parent: u32,
    threads: u32,
    /// In clock ticks since the system started.
    pub(crate) start: u64,
    /// What the kernel shows as the exit code, which is a wait status. Not shown
    /// before Linux 3.5.
    pub(crate) wait_status: Option<i32>,
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Stat> {
        // Without the end of the line the last number may be cut off.
        let stat = stat.strip_suffix(b"\n")?;
        // The second field is the name, in parentheses, and may hold spaces,
        // newlines and parentheses itself. None follows it.
        let name_start = stat.iter().position(|&byte| byte == b'(')?;
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let pid = str::from_utf8(&stat[..name_start]).ok()?;
        let rest = str::from_utf8(&stat[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // Numbered from 1 in the manual page: the state is the third.
        let state = fields.next()?;
        let parent = fields.next()?;
        let threads = fields.nth(20 - 5)?;
        let start = fields.nth(22 - 21)?;
        let wait_status = fields.nth(52 - 23);
        Some(Stat {
            pid: pid.trim_ascii_end().parse().ok()?,
            state: *state.as_bytes().first()?,
            parent: parent.parse().ok()?,
            threads: threads.parse().ok()?,
            start: start.parse().ok()?,
            wait_status: wait_status.and_then(|status| status.parse().ok()),
        })
    }

    /// Whether all threads have ended. A process whose first thread has ended
    /// before the others shows as a zombie, too.
    pub(crate) fn has_exited(&self) -> bool {
        self.state == b'Z' && self.threads == 1
    }

    /// The process is being reaped, or it lives and another of its threads takes the
    /// place of the first one, by `execve`. The next look tells which, but in gVisor,
    /// where the file stays the first thread's.
    fn is_in_between(&self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads == 0)
    }
}

/// Whether the pids in /proc are those that we know the processes by, and not
/// another pid namespace's.
pub(crate) fn is_ours() -> bool {
    let mut buffer = [0; 4096];
    read_file(format_args!("/proc/thread-self/status"), &mut buffer)
        .is_some_and(|status| knows_us_as(process::id(), status))
}

fn knows_us_as(pid: u32, status: &[u8]) -> bool {
    // From Linux 4.1 on, `NStgid` has our pid in the namespace of this /proc and
    // in all below it, down to our own.
    let pids = field(status, "NStgid:").or_else(|| field(status, "Tgid:"));
    pids.and_then(|pids| pids.parse().ok()) == Some(pid)
}

/// Whether this number is a process's in /proc, or a thread's. `None`: not shown.
pub(crate) fn is_process(pid: Pid) -> Option<bool> {
    let mut buffer = [0; 4096];
    let status = read_file(format_args!("/proc/{}/status", pid.get()), &mut buffer)?;
    let process: u32 = field(status, "Tgid:")?.parse().ok()?;
    Some(process == pid.get())
}

/// The pid that /proc shows for the process of a pidfd of ours. `None`: it was
/// reaped, has no pid there, or there is no /proc.
pub(crate) fn pid_of_pidfd(fd: RawFd) -> Option<Pid> {
    Pid::new(shown_pid_of_pidfd(fd)?.try_into().ok()?).ok()
}

/// Whether the process of a pidfd of ours has been reaped. `None`: not shown.
pub(crate) fn pidfd_is_reaped(fd: RawFd) -> Option<bool> {
    Some(shown_pid_of_pidfd(fd)? == -1)
}

/// Whether the process of a pidfd of ours has exited. `None`: not shown.
pub(crate) fn pidfd_has_exited(fd: RawFd) -> Option<bool> {
    match shown_pid_of_pidfd(fd)? {
        -1 => Some(true),
        _ => {
            let stat = StatFile::open(pid_of_pidfd(fd)?).ok()?.read().ok()?;
            // And the number was its until then.
            (pid_of_pidfd(fd)?.get() == stat.pid).then(|| stat.has_exited())
        }
    }
}

fn shown_pid_of_pidfd(fd: RawFd) -> Option<i32> {
    // Not /proc/self, which is the first thread's: that may have ended, or have
    // descriptors of its own.
    let mut buffer = [0; 1024];
    let info = read_file(format_args!("/proc/thread-self/fdinfo/{fd}"), &mut buffer)?;
    field(info, "Pid:")?.parse().ok()
}

/// Which time namespace the times in /proc are told for; 0 where there are none. `None`:
/// we are not told.
pub(crate) fn time_namespace() -> Option<u64> {
    let mut link = [0; 64];
    let length = match readlinkat_raw(CWD, c"/proc/thread-self/ns/time", &mut link[..]) {
        Ok(length) => length,
        Err(Errno::NOENT) => return Some(0),
        Err(_) => return None,
    };
    // "time:[4026531834]"
    let digits = link[..length].iter().filter(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Whether the kernel lets us look into a zombie, and so shows us its real exit
/// code in `stat`. This link is guarded in the same way; in a zombie it leads
/// nowhere, which is a different answer from a refusal. (On Linux 5.10 the links in
/// `ns` answer both alike.)
pub(crate) fn may_look(pid: Pid, stat: &Stat) -> bool {
    let mut path = [0; PATH_MAX];
    let mut link = [0; 64];
    let Some(path) = path_in(&mut path, format_args!("/proc/{}/exe", pid.get())) else {
        return false;
    };
    match readlinkat_raw(CWD, path, &mut link[..]) {
        Ok(_) => true,
        // Or there is no such path for us any more, after `chroot` or `setuid`.
        Err(Errno::NOENT) => StatFile::open(pid).and_then(|file| file.read()).as_ref() == Ok(stat),
        Err(_) => false,
    }
}

/// The value of a line in a file of lines such as `Pid:\t42`.
fn field<'a>(file: &'a [u8], name: &str) -> Option<&'a str> {
    let line = file
        .split_inclusive(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(name.as_bytes()))?
        .strip_suffix(b"\n")?; // or it is cut off
    Some(std::str::from_utf8(line).ok()?.trim())
}

/// The start of a file, as much as fits.
fn read_file<'a>(path: fmt::Arguments<'_>, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    read_start(open_file(path).ok()?.as_fd(), buffer).ok()
}

fn open_file(path: fmt::Arguments<'_>) -> Result<OwnedFd> {
    let mut buffer = [0; PATH_MAX];
    let path = path_in(&mut buffer, path).ok_or(Errno::NAMETOOLONG)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    retry_on_intr(|| open(path, flags, Mode::empty()))
}

/// Whoever has the number now. To the kernel it is as good as a pidfd.
pub(crate) fn open_directory(pid: Pid) -> Result<OwnedFd> {
    open_file(format_args!("/proc/{}", pid.get()))
}

/// All of a /proc file comes in one read.
fn read_start<'a>(file: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let length = retry_on_intr(|| pread(file, &mut *buffer, 0))?;
    Ok(&buffer[..length])
}

const PATH_MAX: usize = 48;

fn path_in<'a>(buffer: &'a mut [u8; PATH_MAX], path: fmt::Arguments<'_>) -> Option<&'a CStr> {
    // Room is left for the zero at the end.
    (&mut buffer[..PATH_MAX - 1]).write_fmt(path).ok()?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// All that reads foreign text, for `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(stat) = Stat::parse(bytes) {
        assert!(bytes.contains(&stat.state));
        let _ = stat.has_exited();
    }
    let _ = knows_us_as(1, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As Linux 6.18 shows it, with this name and exit code.
    fn stat(name: &str, rest: &str) -> Vec<u8> {
        format!("4711 ({name}) {rest}\n").into_bytes()
    }

    const ZOMBIE: &str = "Z 1 4711 1 0 -1 4228044 11 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 \
        18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792";

    #[test]
    fn the_fields_of_a_zombie() {
        let stat = Stat::parse(&stat("sh", ZOMBIE)).unwrap();
        assert_eq!(
            stat,
            Stat {
                pid: 4711,
                state: b'Z',
                parent: 1,
                threads: 1,
                start: 987_654,
                wait_status: Some(7 << 8),
            }
        );
        assert!(stat.has_exited());
    }

    #[test]
    fn a_name_may_look_like_the_rest() {
        let expected = Stat::parse(&stat("sh", ZOMBIE));
        for name in [
            ") R 1 2 3",
            "a b",
            "(((",
            ")))",
            "",
            "\n) S 1\n",
            "4711 (x) Z",
        ] {
            assert_eq!(Stat::parse(&stat(name, ZOMBIE)), expected, "{name:?}");
        }
        let mut not_utf8 = stat("sh", ZOMBIE);
        not_utf8[6] = 0xFF;
        assert_eq!(Stat::parse(&not_utf8), expected);
    }

    #[test]
    fn a_zombie_with_threads_has_not_exited() {
        let two_threads = ZOMBIE.replacen(" 20 0 1 0 ", " 20 0 2 0 ", 1);
        assert!(!Stat::parse(&stat("sh", &two_threads)).unwrap().has_exited());
        // Another thread takes the place of the first one just now.
        for (state, threads) in [("Z", 0), ("X", 0), ("X", 1), ("x", 1)] {
            let execve = ZOMBIE.replacen(" 20 0 1 0 ", &format!(" 20 0 {threads} 0 "), 1);
            let stat = Stat::parse(&stat("sh", &execve.replacen('Z', state, 1))).unwrap();
            assert!(!stat.has_exited() && stat.is_in_between());
        }
        let running = ZOMBIE.replacen('Z', "S", 1);
        assert!(!Stat::parse(&stat("sh", &running)).unwrap().has_exited());
    }

    #[test]
    fn an_old_kernel_shows_no_exit_code() {
        let (old, _) = ZOMBIE.rsplit_once(' ').unwrap();
        assert_eq!(Stat::parse(&stat("sh", old)).unwrap().wait_status, None);
    }

    #[test]
    fn what_is_cut_off_or_strange_is_nothing() {
        for strange in [
            "",
            "4711",
            "4711 (sh",
            "4711 (sh)",
            "4711 (sh) Z 1 2",
            "x) Z -",
        ] {
            assert_eq!(Stat::parse(strange.as_bytes()), None, "{strange:?}");
        }
    }

    #[test]
    fn our_own_stat() {
        let us = Pid::new(std::process::id()).unwrap();
        let stat = StatFile::open(us).unwrap().read().unwrap();
        assert_eq!(stat.pid, us.get());
        assert!(!stat.has_exited());
        // In a sandbox that has just started it may be 0.
        let line = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = line.rsplit_once(')').unwrap();
        let start = fields.split_whitespace().nth(22 - 3).unwrap();
        assert_eq!(stat.start.to_string(), start);
    }

    #[test]
    fn a_proc_of_another_namespace_is_not_ours() {
        let status = |pids: &str| format!("Name:\tNStgid: 7\nTgid:\t1\nPid:\t5\n{pids}");
        assert!(knows_us_as(1, status("NStgid:\t1\n").as_bytes()));
        assert!(knows_us_as(1, status("").as_bytes()));
        assert!(!knows_us_as(1, status("NStgid:\t1\t1\n").as_bytes()));
        assert!(!knows_us_as(7, status("NStgid:\t900\t7\n").as_bytes()));
        assert!(!knows_us_as(2, status("").as_bytes()));
        assert!(!knows_us_as(1, b""));
    }

    #[test]
    fn this_proc_is_ours() {
        assert!(is_ours());
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = Stat::parse(&bytes);
            let _ = field(&bytes, "Pid:");
            let _ = knows_us_as(1, &bytes);
        }

        #[test]
        fn whatever_the_name_the_fields_are_found(
            name: Vec<u8>,
            threads in 0..100_000_u32,
            start: u64,
            status: i32,
        ) {
            let fields = format!(
                ") Z 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 {start} 0 0 \
                 0 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 {status}\n"
            );
            let stat = [b"1 (", &name[..], fields.as_bytes()].concat();
            let expected = Stat {
                pid: 1,
                state: b'Z',
                parent: 1,
                threads,
                start,
                wait_status: Some(status),
            };
            prop_assert_eq!(Stat::parse(&stat), Some(expected));
        }

        #[test]
        fn cut_off_anywhere_it_is_nothing(length: prop::sample::Index) {
            let whole = stat("a (b) c", ZOMBIE);
            let cut = &whole[..length.index(whole.len())];
            prop_assert_eq!(Stat::parse(cut), None);
            let line = &b"Pid:\t4711\n"[..];
            prop_assert_eq!(field(&line[..length.index(line.len())], "Pid:"), None);
        }

        #[test]
        fn a_field_of_a_status_file(pid: u32, before: String, after: String) {
            prop_assume!(!before.contains("Pid:") && !before.contains('\n'));
            let file = format!("{before}\nPid:\t{pid}\n{after}");
            let expected = pid.to_string();
            prop_assert_eq!(field(file.as_bytes(), "Pid:"), Some(&*expected));
        }
    }
}
