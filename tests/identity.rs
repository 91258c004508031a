//! Tests of identities: everyone who asks about a process gets the same, and no other process has it.

mod common;
#[cfg(target_os = "linux")]
#[path = "common/own_pids.rs"]
mod own_pids;
#[cfg(all(
    target_os = "linux",
    not(kqueue_on_linux),
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    )
))]
#[path = "common/seccomp.rs"]
mod seccomp;

use common::{
    Controller, Grandchild, assert_code, exit_of, helper, hides_start_of_zombies, open_by_all, skip,
};
use procwait::{Backend, Error, Identity, Process};
use std::process;

/// Whether the system shows identities. Prints that `test` is skipped if it does not.
fn has_identities(test: &str) -> bool {
    let own = Process::open(process::id()).unwrap();
    let has_identities = own.identity().is_some();
    if !has_identities {
        skip(test, "a system that shows when a process started");
    }
    has_identities
}

#[track_caller]
fn identity_of(pid: u32) -> Identity {
    Process::open(pid).unwrap().identity().unwrap()
}

/// Opens the process with each backend that shows its identity: on Windows, polling does not.
fn open_with_identity(pid: u32) -> Vec<Process> {
    let mut processes = open_by_all(pid);
    processes.retain(|process| !cfg!(windows) || process.backend() != Backend::Polling);
    processes
}

#[track_caller]
fn assert_not_found(identity: &Identity) {
    let text = identity.to_string();
    let (pid_of_identity, _) = text.split_once('-').unwrap();
    match Process::open_identity(identity).unwrap_err() {
        Error::NotFound { pid } => assert_eq!(pid.to_string(), pid_of_identity),
        error => panic!("{error}"),
    }
}

/// Where they can exist, a lack of identities must not go unnoticed: the other tests skip then.
#[test]
#[cfg(all(target_os = "linux", not(kqueue_on_linux)))]
fn linux_has_identities() {
    use std::fs;
    let test = "linux_has_identities";
    if !fs::exists("/proc/sys/kernel/random/boot_id").unwrap() {
        return skip(test, "a boot id");
    }
    match fs::read_link("/proc/self/ns/time") {
        Ok(link) if link.as_os_str() != "time:[4026531834]" => {
            skip(test, "the first time namespace")
        }
        _ => assert!(has_identities(test)),
    }
}

#[test]
fn everyone_gets_the_same_identity() {
    if !has_identities("everyone_gets_the_same_identity") {
        return;
    }
    let (child, grandchild) = (helper("wait 7"), Grandchild::new("wait 7"));
    let mut other_program = Controller::new("identities");
    let pids = [child.id(), grandchild.pid, process::id()];
    for pid in pids {
        let identity = identity_of(pid);
        for process in &open_with_identity(pid) {
            let same = process.identity();
            assert_eq!(same.as_ref(), Some(&identity), "{process:?}");
        }
        let text = other_program.request(&format!("of {pid}"));
        assert_eq!(text, identity.to_string());
        assert_eq!(text.parse().as_ref(), Ok(&identity));
        let opened = other_program.request(&format!("open {identity}"));
        assert_eq!(opened, pid.to_string());
    }
    let [first, second, third] = pids.map(identity_of);
    assert!(first != second && second != third && third != first);
}

#[test]
#[cfg(unix)]
fn execve_does_not_change_the_identity() {
    use std::{
        io::{BufReader, Write as _},
        process::{Command, Stdio},
    };
    if !has_identities("execve_does_not_change_the_identity") {
        return;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo started; read line; exec cat"]);
    let mut child = common::spawn(shell.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    assert_eq!(common::read_line(&mut stdout), "started");
    let identity = identity_of(child.id());
    let before = open_by_all(child.id());
    child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"\ncopied\n")
        .unwrap();
    assert_eq!(common::read_line(&mut stdout), "copied");
    for process in before.iter().chain(&open_by_all(child.id())) {
        assert_eq!(process.identity().as_ref(), Some(&identity), "{process:?}");
    }
    assert!(Process::open_identity(&identity).is_ok());
}

#[test]
fn zombie_has_its_identity_if_its_start_is_shown() {
    if !has_identities("zombie_has_its_identity_if_its_start_is_shown") {
        return;
    }
    let mut child = helper("wait 7");
    let pid = child.id();
    let identity = identity_of(pid);
    let before = open_with_identity(pid);
    drop(child.stdin.take());
    exit_of(pid);
    let opened = open_with_identity(pid);
    let expected = (!hides_start_of_zombies()).then_some(&identity);
    for process in before.iter().chain(&opened) {
        assert_eq!(process.identity().as_ref(), expected, "{process:?}");
    }
    let found = Process::open_identity(&identity);
    if expected.is_some() {
        let process = found.unwrap();
        let exit = process.try_wait().unwrap().expect("it is a zombie");
        assert_code(&process, exit, 7);
    } else {
        assert!(matches!(found, Err(Error::Os { .. })), "{found:?}");
    }

    // On Windows, a process keeps its pid, and shows its identity, until its last handle is closed.
    if cfg!(unix) {
        let not_asked = open_by_all(pid);
        child.wait().unwrap();
        for process in &not_asked {
            assert_eq!(process.identity(), None, "{process:?}");
        }
        assert_not_found(&identity);
    }
}

#[test]
fn identity_after_the_reap_is_known_if_it_was_asked_for_before() {
    let test = "identity_after_the_reap_is_known_if_it_was_asked_for_before";
    if !has_identities(test) {
        return;
    }
    let mut child = helper("wait 7");
    let identity = identity_of(child.id());
    let asked = open_with_identity(child.id());
    for process in &asked {
        assert_eq!(process.identity().as_ref(), Some(&identity));
    }
    let mut known = vec![Process::open_identity(&identity).unwrap()];
    let not_asked = open_by_all(child.id());
    child.wait().unwrap();
    known.extend(asked);
    for process in &known {
        assert_eq!(process.identity().as_ref(), Some(&identity), "{process:?}");
    }
    // On Windows, a process keeps its pid, and shows its identity, until its last handle is closed.
    if cfg!(unix) {
        for process in &not_asked {
            assert_eq!(process.identity(), None, "{process:?}");
        }
    }
}

#[test]
fn opened_identity_is_that_process() {
    if !has_identities("opened_identity_is_that_process") {
        return;
    }
    let mut child = helper("wait 7");
    let identity = identity_of(child.id()).to_string().parse().unwrap();
    let process = Process::open_identity(&identity).unwrap();
    assert_eq!(process.pid(), child.id());
    assert_eq!(process.identity(), Some(identity));
    assert_eq!(process.try_wait().unwrap(), None);
    drop(child.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(7));
}

#[test]
fn reaped_process_is_not_found() {
    if !has_identities("reaped_process_is_not_found") {
        return;
    }
    let mut child = helper("wait 7");
    let identity = identity_of(child.id());
    child.wait().unwrap();
    drop(child);
    // On Windows, others can hold a handle for a moment.
    while cfg!(windows) && Process::open_identity(&identity).is_ok() {
        std::thread::yield_now();
    }
    assert_not_found(&identity);
}

#[cfg(target_os = "linux")]
mod pid_reuse {
    use super::*;
    use own_pids::{in_own_pid_namespace, reuse};

    #[test]
    fn later_process_with_the_pid_has_another_identity() {
        in_own_pid_namespace(|| {
            let test = "pid_reuse::later_process_with_the_pid_has_another_identity";
            if !has_identities(test) {
                return;
            }
            let old = helper("wait 7");
            let pid = old.id();
            let identity = identity_of(pid);
            let (asked, not_asked) = (open_by_all(pid), open_by_all(pid));
            for process in &asked {
                assert_eq!(process.identity().as_ref(), Some(&identity));
            }
            let mut new = reuse(old);
            let new_identity = identity_of(pid);
            assert_ne!(new_identity, identity);
            let opened = Process::open_identity(&new_identity).unwrap();
            for new_exits in [false, true] {
                if new_exits {
                    drop(new.stdin.take());
                    exit_of(pid);
                }
                for (asked, not_asked) in asked.iter().zip(&not_asked) {
                    assert_eq!(asked.identity().as_ref(), Some(&identity), "{asked:?}");
                    assert_eq!(not_asked.identity(), None, "{not_asked:?}");
                }
                let opened = Process::open_identity(&new_identity);
                if new_exits && hides_start_of_zombies() {
                    assert!(matches!(opened, Err(Error::Os { .. })), "{opened:?}");
                    let found = Process::open_identity(&identity);
                    assert!(matches!(found, Err(Error::Os { .. })), "{found:?}");
                } else {
                    let code = new_exits.then_some(Some(8));
                    let exit = opened.unwrap().try_wait().unwrap();
                    assert_eq!(exit.map(|exit| exit.code()), code);
                    assert_not_found(&identity);
                }
            }
            assert_eq!(opened.wait().unwrap().code(), Some(8));
            assert_eq!(new.wait().unwrap().code(), Some(8));
            assert_not_found(&identity);
            assert_not_found(&new_identity);
        });
    }
}

#[cfg(all(target_os = "linux", not(kqueue_on_linux)))]
mod linux {
    use super::*;
    use common::{
        START_TIME, assert_success, controller_as_other_user, has_pidfd, in_a_fork, in_namespaces,
        number_in, with_field,
    };
    use nix::{
        libc,
        sched::{CloneFlags, unshare},
        sys::resource::{Resource, getrlimit, setrlimit},
    };
    use own_pids::{helper_with_pid, in_own_pid_namespace, mount_on_proc, reuse};
    use std::{
        fs,
        io::{self, Read as _, Write as _},
        os::unix::net::UnixStream,
    };

    const PID_NAMESPACE: usize = 2;
    const BOOT: usize = 3;

    fn of_other_boot(identity: &Identity) -> Identity {
        with_field(identity, BOOT, "0123456789abcdef0123456789abcdef")
    }

    fn own_pid_namespace() -> String {
        let link = fs::read_link("/proc/thread-self/ns/pid").unwrap();
        let number = link.to_str().unwrap().strip_prefix("pid:[");
        number.unwrap().strip_suffix(']').unwrap().to_owned()
    }

    /// Asserts that the process may still be running, for all that can be known.
    #[track_caller]
    fn assert_undetermined(identity: &Identity) {
        let error = Process::open_identity(identity).unwrap_err();
        assert!(
            matches!(
                error,
                Error::Os {
                    call: "open_identity",
                    ..
                }
            ),
            "{error}"
        );
        assert_ne!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    }

    #[track_caller]
    fn assert_no_identity(pid: u32) {
        let mut processes = open_by_all(pid);
        processes.extend(adopt(pid));
        for process in &processes {
            assert_eq!(process.identity(), None, "{process:?}");
        }
    }

    /// `None` if there are no pidfds.
    fn adopt(pid: u32) -> Option<Process> {
        let process = Process::open(pid).unwrap();
        let pidfd = process.as_event_fd()?.try_clone_to_owned().unwrap();
        Some(Process::from_pidfd(pidfd).unwrap())
    }

    #[test]
    fn fields_are_those_of_proc() {
        if !has_identities("linux::fields_are_those_of_proc") {
            return;
        }
        let child = helper("wait 7");
        let start_time = own_pids::start_time(child.id());
        let namespace = own_pid_namespace();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let boot = boot.trim_end().replace('-', "");
        let text = format!("{}-{start_time}-{namespace}-{boot}", child.id());
        assert_eq!(identity_of(child.id()).to_string(), text);
    }

    #[test]
    fn adopted_process_has_its_identity() {
        let test = "linux::adopted_process_has_its_identity";
        if !has_pidfd() {
            return skip(test, "pidfd");
        }
        if !has_identities(test) {
            return;
        }
        let mut child = helper("wait 7");
        let identity = identity_of(child.id());
        let [asked, not_asked] = [(); 2].map(|()| adopt(child.id()).unwrap());
        assert_eq!(asked.identity().as_ref(), Some(&identity));
        child.wait().unwrap();
        assert_eq!(asked.identity(), Some(identity));
        assert_eq!(not_asked.identity(), None);
    }

    #[test]
    fn another_boot_or_start_time_is_not_found() {
        if !has_identities("linux::another_boot_or_start_time_is_not_found") {
            return;
        }
        let child = helper("wait 7");
        let identity = identity_of(child.id());
        assert_not_found(&of_other_boot(&identity));
        let start_time = number_in(&identity, START_TIME);
        for other in [start_time - 1, start_time + 1] {
            assert_not_found(&with_field(&identity, START_TIME, &other.to_string()));
        }
        let pid_namespace = number_in(&identity, PID_NAMESPACE) + 1;
        let of_namespace = with_field(&identity, PID_NAMESPACE, &pid_namespace.to_string());
        assert_undetermined(&of_namespace);
        assert_not_found(&of_other_boot(&of_namespace));
    }

    /// Another process has the same pid in that namespace, and `/proc` is still that of the outer one.
    #[test]
    fn in_another_pid_namespace() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::in_another_pid_namespace") {
                return;
            }
            let outer = helper("wait 7");
            let pid = outer.id();
            let outer_identity = identity_of(pid);
            unshare(CloneFlags::CLONE_NEWPID).unwrap();
            let in_inner_namespace = || {
                let inner = helper_with_pid(pid, "wait 8");
                // What the outer process's identity would be if it were in this namespace.
                let mixed = with_field(&outer_identity, PID_NAMESPACE, &own_pid_namespace());
                assert_no_identity(pid);
                assert_undetermined(&mixed);
                assert_undetermined(&outer_identity);

                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                mount_on_proc("proc");
                let inner_identity = identity_of(pid);
                assert_eq!(
                    adopt(pid).and_then(|process| process.identity()).as_ref(),
                    has_pidfd().then_some(&inner_identity)
                );
                assert!(Process::open_identity(&inner_identity).is_ok());
                assert_undetermined(&outer_identity);
                let own_start = number_in(&inner_identity, START_TIME);
                if number_in(&mixed, START_TIME) != own_start {
                    assert_not_found(&mixed);
                }
                drop(inner);
                assert_not_found(&inner_identity);
                assert_undetermined(&outer_identity);
            };
            assert_success(in_a_fork(in_inner_namespace));
            assert_eq!(identity_of(pid), outer_identity);
        });
    }

    /// `/proc` is that of a pid namespace below, in which another process has the same pid.
    #[test]
    fn proc_of_a_child_namespace() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::proc_of_a_child_namespace") {
                return;
            }
            let child = helper("wait 7");
            let pid = child.id();
            let identity = identity_of(pid);
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            unshare(CloneFlags::CLONE_NEWPID).unwrap();
            let forked = in_a_fork(|| {
                let mut theirs = theirs;
                let _inner = helper_with_pid(pid, "wait 8");
                mount_on_proc("proc");
                theirs.write_all(b"x").unwrap();
                theirs.read_exact(&mut [0]).unwrap();
            });
            ours.read_exact(&mut [0]).unwrap();
            assert_no_identity(pid);
            assert_undetermined(&identity);
            ours.write_all(b"x").unwrap();
            assert_success(forked);
        });
    }

    /// There, start times are shifted.
    #[test]
    fn in_another_time_namespace() {
        in_own_pid_namespace(|| {
            let test = "linux::in_another_time_namespace";
            if !has_identities(test) {
                return;
            }
            let mut child = helper("wait 7");
            let identity = identity_of(child.id());
            // For children. nix has no name for it.
            let new_time = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
            if let Err(error) = unshare(new_time) {
                return skip(test, &format!("time namespaces: {error}"));
            }
            let tid = rustix::thread::gettid().as_raw_nonzero();
            fs::write(format!("/proc/{tid}/timens_offsets"), "boottime 1000 0").unwrap();
            assert_eq!(identity_of(child.id()), identity);
            let in_inner_namespace = || {
                assert_no_identity(child.id());
                assert_no_identity(process::id());
                assert_undetermined(&identity);
            };
            assert_success(in_a_fork(in_inner_namespace));
            child.wait().unwrap();
            // Even if no process has the pid: the boot is not known, as the start time.
            assert_success(in_a_fork(|| assert_undetermined(&identity)));
            assert_not_found(&identity);
        });
    }

    #[test]
    fn another_user_gets_the_same_identity() {
        let test = "linux::another_user_gets_the_same_identity";
        if !has_identities(test) {
            return;
        }
        let Some(mut other_user) = controller_as_other_user(test, "identities") else {
            return;
        };
        let child = helper("wait 7");
        let identity = identity_of(child.id());
        let answer = other_user.request(&format!("of {}", child.id()));
        assert_eq!(answer, identity.to_string());
        let answer = other_user.request(&format!("open {identity}"));
        assert_eq!(answer, child.id().to_string());
    }

    #[test]
    fn hidden_by_hidepid() {
        let hide = "mount -t proc -o hidepid=2 proc /proc";
        in_namespaces(&["--mount"], hide, || {
            let test = "linux::hidden_by_hidepid";
            if !has_identities(test) {
                return;
            }
            let Some(mut other_user) = controller_as_other_user(test, "identities") else {
                return;
            };
            let mut child = helper("wait 7");
            let identity = identity_of(child.id());
            let undetermined = format!("open_identity failed for process {}: ", child.id());
            for is_zombie in [false, true] {
                if is_zombie {
                    drop(child.stdin.take());
                    exit_of(child.id());
                }
                let answer = other_user.request(&format!("of {}", child.id()));
                assert_eq!(answer, "none", "is_zombie: {is_zombie}");
                let answer = other_user.request(&format!("open {identity}"));
                assert!(
                    answer.starts_with(&undetermined),
                    "is_zombie: {is_zombie}, {answer}"
                );
            }
            child.wait().unwrap();
            let answer = other_user.request(&format!("open {identity}"));
            assert_eq!(answer, format!("process {} not found", child.id()));
            // Its own processes are not hidden.
            let pid = other_user.pid();
            let answer = other_user.request(&format!("of {pid}"));
            assert_eq!(answer, identity_of(pid).to_string());
        });
    }

    /// Then nothing was read of the process when it was opened: what has the pid later may be another.
    #[test]
    fn opened_without_descriptors() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::opened_without_descriptors") {
                return;
            }
            let old = helper("wait 7");
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
            let process = Process::open(old.id()).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            let _new = reuse(old);
            assert_eq!(process.identity(), None);
        });
    }

    #[test]
    fn without_proc() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::without_proc") {
                return;
            }
            let mut child = helper("wait 7");
            let identity = identity_of(child.id());
            let processes = open_by_all(child.id());
            mount_on_proc("tmpfs");
            for process in &processes {
                assert_eq!(process.identity(), None, "{process:?}");
            }
            assert_no_identity(child.id());
            assert_undetermined(&identity);
            assert_undetermined(&of_other_boot(&identity));
            child.wait().unwrap();
            assert_undetermined(&identity);
        });
    }

    #[cfg(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))]
    #[test]
    fn identity_is_right_whatever_call_is_denied() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::identity_is_right_whatever_call_is_denied") {
                return;
            }
            let denied: [&[i64]; 7] = [
                &[libc::SYS_pidfd_open],
                &[libc::SYS_pidfd_send_signal],
                &[libc::SYS_waitid],
                &[libc::SYS_ppoll],
                &[libc::SYS_ioctl],
                &[libc::SYS_tgkill, libc::SYS_getpgid],
                &[
                    libc::SYS_pidfd_open,
                    libc::SYS_pidfd_send_signal,
                    libc::SYS_waitid,
                    libc::SYS_ppoll,
                    libc::SYS_ioctl,
                    libc::SYS_tgkill,
                    libc::SYS_getpgid,
                ],
            ];
            for (calls, errno) in denied
                .into_iter()
                .flat_map(|calls| [(calls, libc::EPERM), (calls, libc::ENOSYS)])
            {
                let old = helper("wait 7");
                let identity = identity_of(old.id());
                let in_sandbox = || {
                    seccomp::deny(calls, errno);
                    let processes = [old.id(), old.id()].map(open_by_all);
                    let [asked, not_asked] = &processes;
                    for process in asked {
                        let context = format!("{calls:?}, {errno}, {process:?}");
                        assert_eq!(process.identity().as_ref(), Some(&identity), "{context}");
                    }
                    assert!(Process::open_identity(&identity).is_ok());
                    let new = reuse(old);
                    for process in not_asked {
                        let context = format!("{calls:?}, {errno}, {process:?}");
                        assert_eq!(process.identity(), None, "{context}");
                    }
                    assert_not_found(&identity);
                    let new_identity = identity_of(new.id());
                    assert_ne!(new_identity, identity);
                    new_identity
                };
                let new_identity = std::thread::scope(|scope| scope.spawn(in_sandbox).join());
                assert_not_found(&new_identity.unwrap());
            }
        });
    }

    /// The copy of a `Process` in a forked child is in another pid namespace, in which another
    /// process has its pid. `/proc` is that of the outer namespace, and then that of the inner one.
    #[test]
    fn forked_copy_in_another_pid_namespace() {
        in_own_pid_namespace(|| {
            if !has_identities("linux::forked_copy_in_another_pid_namespace") {
                return;
            }
            let outer = helper("wait 7");
            let pid = outer.id();
            let [mut before, mut after] = [(); 2].map(|()| open_by_all(pid));
            before.extend(adopt(pid));
            after.extend(adopt(pid));
            unshare(CloneFlags::CLONE_NEWPID).unwrap();
            let in_inner_namespace = || {
                let _inner = helper_with_pid(pid, "wait 8");
                for process in &before {
                    assert_eq!(process.identity(), None, "{process:?}");
                }
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                mount_on_proc("proc");
                for process in &after {
                    assert_eq!(process.identity(), None, "{process:?}");
                }
            };
            assert_success(in_a_fork(in_inner_namespace));
        });
    }
}
