//! The files of `/proc` (proc(5)), read without allocating.

use super::syscalls::{is_kernel_at_least, readlink};
use crate::{
    pid::Pid,
    sys::unix::{
        fd::{GuardedFd, above_standard_streams},
        file,
    },
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
    io::{Errno, Result, pread, retry_on_intr},
};
use std::{ffi::CStr, fmt, io::Write as _, process, str};

/// An open `/proc/PID/stat`. It belongs to the process and not to the pid: once the process has
/// been reaped, reading it fails with `ESRCH` (fs/proc/base.c, proc_single_show), even if the pid has
/// been reused.
#[derive(Debug)]
pub(crate) struct StatFile {
    fd: GuardedFd,
    pid: Pid,
}

impl StatFile {
    pub(crate) fn open(pid: Pid) -> Result<StatFile> {
        let file = open_file(format_args!("/proc/{}/stat", pid.get()))?;
        let fd = above_standard_streams(file)?.into();
        Ok(StatFile { fd, pid })
    }

    /// `EAGAIN` if it shows a state that is not final, see `Stat::is_transient`. `EBADF` if other
    /// code has closed the descriptor, also if its number is that of another process's file now.
    pub(crate) fn read(&self) -> Result<Stat> {
        for _ in 0..4 {
            let mut buffer = [0; 2048];
            let stat = self.fd.with(|file| {
                let stat = Stat::parse(read_start(file.as_fd(), &mut buffer)?);
                match stat.ok_or(Errno::IO)? {
                    stat if stat.pid == self.pid.get() => Ok(stat),
                    _ => Err(Errno::BADF),
                }
            })?;
            if !stat.is_transient() {
                return Ok(stat);
            }
        }
        Err(Errno::AGAIN)
    }

    /// Does not close it.
    pub(crate) fn disown(&self) {
        self.fd.disown();
    }
}

impl AsFd for StatFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The fields of `/proc/PID/stat` that we need (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    state: u8,
    /// The pid of its parent, of the same pid namespace as `pid`.
    pub(crate) parent: u32,
    threads: u32,
    /// In clock ticks since the system started.
    pub(crate) start: u64,
    /// The field `exit_code`, which is a wait status. Linux 3.5 and later.
    pub(crate) wait_status: Option<i32>,
}

impl Stat {
    fn parse(stat: &[u8]) -> Option<Stat> {
        // Without the end of the line, the last number may be cut off.
        let stat = stat.strip_suffix(b"\n")?;
        // The second field is the name, in parentheses. It can contain spaces, newlines and
        // parentheses. None of the later fields contains a parenthesis.
        let name_start = stat.iter().position(|&byte| byte == b'(')?;
        let name_end = stat.iter().rposition(|&byte| byte == b')')?;
        let pid = str::from_utf8(&stat[..name_start]).ok()?;
        let rest = str::from_utf8(&stat[name_end + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        // The manual page counts from 1: the state is the third.
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

    /// The process is being reaped; or it is alive, and another of its threads replaces the first
    /// one, in `execve`. The next read shows which, except in gVisor, where the file stays the
    /// first thread's.
    fn is_transient(&self) -> bool {
        matches!(self.state, b'X' | b'x') || (self.state == b'Z' && self.threads == 0)
    }
}

/// Whether the pids in /proc are those of our pid namespace.
pub(crate) fn shows_our_pid_namespace() -> bool {
    let mut buffer = [0; 4096];
    read_file(format_args!("/proc/thread-self/status"), &mut buffer)
        .is_some_and(|status| is_tgid_in_our_namespace(process::id(), status))
}

fn is_tgid_in_our_namespace(pid: u32, status: &[u8]) -> bool {
    // Since Linux 4.1, `NStgid` lists our pid in the namespace of this /proc and in each one
    // below it, down to our own.
    let pids = field(status, "NStgid:").or_else(|| field(status, "Tgid:"));
    pids.and_then(|pids| pids.parse().ok()) == Some(pid)
}

/// Whether this is the id of a process in /proc, or of another thread. `None` if it is not shown.
pub(crate) fn is_process(pid: Pid) -> Option<bool> {
    let mut buffer = [0; 4096];
    let status = read_file(format_args!("/proc/{}/status", pid.get()), &mut buffer)?;
    let process: u32 = field(status, "Tgid:")?.parse().ok()?;
    Some(process == pid.get())
}

/// The pid that /proc shows for the process of one of our pidfds. `None` if it was reaped, has no
/// pid there, or there is no /proc.
pub(crate) fn pid_of_pidfd(fd: RawFd) -> Option<Pid> {
    Pid::new(pid_field_of_pidfd(fd)?.try_into().ok()?).ok()
}

/// Whether one of our descriptors is a pidfd. False if that is not shown.
pub(crate) fn is_pidfd(fd: RawFd) -> bool {
    pidfd_pid_field(fd).is_some()
}

/// Whether the process of one of our pidfds has been reaped. `None` if that is not shown.
pub(crate) fn pidfd_is_reaped(fd: RawFd) -> Option<bool> {
    Some(pid_field_of_pidfd(fd)? == -1)
}

/// Whether the process of one of our pidfds has exited. `None` if that is not shown.
pub(crate) fn pidfd_has_exited(fd: RawFd) -> Option<bool> {
    match pid_field_of_pidfd(fd)? {
        -1 => Some(true),
        _ => {
            let stat = StatFile::open(pid_of_pidfd(fd)?).ok()?.read().ok()?;
            // If it still has the pid, it had it when the file was read.
            (pid_of_pidfd(fd)?.get() == stat.pid).then(|| stat.has_exited())
        }
    }
}

/// The pid, 0 if it has none in the pid namespace of this /proc, or -1 if it has been reaped
/// (fs/pidfs.c, pidfd_show_fdinfo). Before Linux 5.5, a reaped process keeps its pid there.
fn pid_field_of_pidfd(fd: RawFd) -> Option<i32> {
    pidfd_pid_field(fd).filter(|_| is_kernel_at_least(5, 5))
}

fn pidfd_pid_field(fd: RawFd) -> Option<i32> {
    // Not /proc/self, which is the first thread's: that may have ended, or have its own
    // descriptors.
    let mut buffer = [0; 1024];
    let info = read_file(format_args!("/proc/thread-self/fdinfo/{fd}"), &mut buffer)?;
    field(info, "Pid:")?.parse().ok()
}

/// The time namespace of the times in /proc, or 0 if the kernel has none. `None` if that is not
/// shown.
pub(crate) fn time_namespace() -> Option<u64> {
    namespace(c"/proc/thread-self/ns/time")
}

/// As [`time_namespace`], for our pids.
pub(crate) fn pid_namespace() -> Option<u64> {
    namespace(c"/proc/thread-self/ns/pid")
}

/// New at each boot (random(4)).
pub(crate) fn boot_id() -> Option<u128> {
    let mut buffer = [0; 64];
    let path = format_args!("/proc/sys/kernel/random/boot_id");
    parse_uuid(read_file(path, &mut buffer)?)
}

fn parse_uuid(line: &[u8]) -> Option<u128> {
    let line = line.strip_suffix(b"\n")?; // or it is cut off
    let mut digits = line.iter().filter(|&&byte| byte != b'-');
    let number = digits.try_fold(0, |number: u128, &byte| {
        let digit = char::from(byte).to_digit(16)?;
        number.checked_mul(16)?.checked_add(digit.into())
    });
    number.filter(|_| line.len() == 36)
}

fn namespace(path: &CStr) -> Option<u64> {
    let mut link = [0; 64];
    let link = match readlink(path, &mut link) {
        Ok(link) => link,
        Err(Errno::NOENT) => return Some(0),
        Err(_) => return None,
    };
    // "time:[4026531834]"
    let digits = link.iter().filter(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Whether the kernel lets us inspect a zombie, and so shows us its real exit code in `stat`. It
/// checks access to the link `exe` in the same way (ptrace_may_access, fs/proc/base.c). In a
/// zombie the link leads nowhere, which is another error than a refusal. (On Linux 5.10, the links
/// in `ns` fail alike in both cases.)
pub(crate) fn may_read_exit_code(pid: Pid, stat: &Stat) -> bool {
    let mut path = [0; PATH_MAX];
    let mut link = [0; 64];
    let Some(path) = path_in(&mut path, format_args!("/proc/{}/exe", pid.get())) else {
        return false;
    };
    match readlink(path, &mut link) {
        Ok(_) => true,
        // Or there is no such path any more, after `chroot` or `setuid`.
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
    retry_on_intr(|| file::open(path, libc::O_RDONLY))
}

/// The directory of the process that has the pid now. Signals can be sent to it as to a pidfd
/// (pidfd_send_signal(2)).
pub(crate) fn open_directory(pid: Pid) -> Result<OwnedFd> {
    open_file(format_args!("/proc/{}", pid.get()))
}

/// One read returns these files whole, or as much as fits (fs/seq_file.c, single_open).
fn read_start<'a>(file: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<&'a [u8]> {
    let length = retry_on_intr(|| pread(file, &mut *buffer, 0))?;
    Ok(&buffer[..length])
}

const PATH_MAX: usize = 48;

fn path_in<'a>(buffer: &'a mut [u8; PATH_MAX], path: fmt::Arguments<'_>) -> Option<&'a CStr> {
    // There is room for the NUL.
    (&mut buffer[..PATH_MAX - 1]).write_fmt(path).ok()?;
    CStr::from_bytes_until_nul(buffer).ok()
}

/// Everything that parses text of the kernel, for `fuzz/`.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(stat) = Stat::parse(bytes) {
        assert!(bytes.contains(&stat.state));
        let _ = stat.has_exited();
    }
    let _ = is_tgid_in_our_namespace(1, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stat(name: &[u8], rest: &str) -> Vec<u8> {
        [b"4711 (", name, b") ", rest.as_bytes(), b"\n"].concat()
    }

    /// As Linux 6.18 shows it.
    const ZOMBIE: &str = "Z 1 4711 1 0 -1 4228044 11 0 0 0 0 0 0 0 20 0 1 0 987654 0 0 \
        18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 1792";

    fn zombie() -> Stat {
        Stat {
            pid: 4711,
            state: b'Z',
            parent: 1,
            threads: 1,
            start: 987_654,
            wait_status: Some(7 << 8),
        }
    }

    #[test]
    fn zombie_is_parsed() {
        let parsed = Stat::parse(&stat(b"sh", ZOMBIE)).unwrap();
        assert_eq!(parsed, zombie());
        assert!(parsed.has_exited());
        // Before Linux 3.5.
        let (old, _) = ZOMBIE.rsplit_once(' ').unwrap();
        assert_eq!(Stat::parse(&stat(b"sh", old)).unwrap().wait_status, None);
    }

    #[test]
    fn comm_that_looks_like_stat_fields() {
        for name in [") R 1 2 3", "(((", ")))", "", "\n) S 1\n", "4711 (x) Z"] {
            let parsed = Stat::parse(&stat(name.as_bytes(), ZOMBIE));
            assert_eq!(parsed, Some(zombie()), "{name:?}");
        }
    }

    #[test]
    fn zombie_with_threads_has_not_exited() {
        let two_threads = ZOMBIE.replacen(" 20 0 1 0 ", " 20 0 2 0 ", 1);
        let parsed = Stat::parse(&stat(b"sh", &two_threads)).unwrap();
        assert!(!parsed.has_exited());
        // Another thread is just replacing the first one.
        for (state, threads) in [("Z", 0), ("X", 0), ("X", 1), ("x", 1)] {
            let execve = ZOMBIE.replacen(" 20 0 1 0 ", &format!(" 20 0 {threads} 0 "), 1);
            let parsed = Stat::parse(&stat(b"sh", &execve.replacen('Z', state, 1))).unwrap();
            assert!(!parsed.has_exited() && parsed.is_transient());
        }
    }

    #[test]
    fn uuid_is_parsed() {
        let uuid = b"0b5e8a1c-23f4-4d6e-8f90-a1b2c3d4e5f6\n";
        let number = 0x0b5e_8a1c_23f4_4d6e_8f90_a1b2_c3d4_e5f6;
        assert_eq!(parse_uuid(uuid), Some(number));
        for length in 0..uuid.len() {
            assert_eq!(parse_uuid(&uuid[..length]), None);
        }
        assert_eq!(parse_uuid(&[b'f'; 37]), None);
        assert_eq!(
            parse_uuid(&uuid.map(|byte| if byte == b'a' { b'g' } else { byte })),
            None
        );
    }

    #[test]
    fn own_stat() {
        let own = Pid::new(process::id()).unwrap();
        let stat = StatFile::open(own).unwrap().read().unwrap();
        assert_eq!(stat.pid, own.get());
        assert!(!stat.has_exited() && shows_our_pid_namespace());
        let line = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (_, fields) = line.rsplit_once(')').unwrap();
        let start = fields.split_whitespace().nth(22 - 3).unwrap();
        assert_eq!(stat.start.to_string(), start);
    }

    #[test]
    fn proc_of_another_pid_namespace() {
        let is_ours = |pid, pids: &str| {
            let status = format!("Name:\tNStgid: 7\nTgid:\t1\nPid:\t5\n{pids}");
            is_tgid_in_our_namespace(pid, status.as_bytes())
        };
        assert!(is_ours(1, "NStgid:\t1\n") && is_ours(1, ""));
        assert!(!is_ours(1, "NStgid:\t1\t1\n") && !is_ours(7, "NStgid:\t900\t7\n"));
        assert!(!is_ours(2, "") && !is_tgid_in_our_namespace(1, b""));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_name_is_skipped(name: Vec<u8>) {
            prop_assert_eq!(Stat::parse(&stat(&name, ZOMBIE)), Some(zombie()));
        }

        #[test]
        fn truncated_text_is_refused(length: prop::sample::Index) {
            let whole = stat(b"a (b) c", ZOMBIE);
            let cut = &whole[..length.index(whole.len())];
            prop_assert_eq!(Stat::parse(cut), None);
            let line = &b"Pid:\t4711\n"[..];
            prop_assert_eq!(field(&line[..length.index(line.len())], "Pid:"), None);
        }

        #[test]
        fn field_of_a_status_file(pid: u32, before: String, after: String) {
            prop_assume!(!before.contains("Pid:") && !before.contains('\n'));
            let file = format!("{before}\nPid:\t{pid}\n{after}");
            let expected = pid.to_string();
            prop_assert_eq!(field(file.as_bytes(), "Pid:"), Some(&*expected));
        }
    }
}
