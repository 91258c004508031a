//! Tests that only Windows needs: handles, 32-bit exit codes, access rights.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{LONG, SHORT, helper, skip};
use procwait::{Backend, ChildExt as _, Error, Process, WaitSet, wait_pid};
use std::{collections::HashMap, os::windows::io::AsRawHandle as _, ptr, time::Duration};
use windows_sys::Win32::{
    Security::{
        ACL, ACL_REVISION, DACL_SECURITY_INFORMATION, InitializeAcl, InitializeSecurityDescriptor,
        SECURITY_DESCRIPTOR, SetKernelObjectSecurity, SetSecurityDescriptorDacl,
    },
    System::{SystemServices::SECURITY_DESCRIPTOR_REVISION, Threading::WaitForSingleObject},
};

#[test]
fn exit_codes_are_any_32_bits() {
    // 259 is STILL_ACTIVE, the others are negative as i32.
    for code in [259, 0x8000_0000, 0xC000_0005, u32::MAX] {
        let mut child = helper(&format!("exit {code}"));
        let process = Process::open(child.id()).unwrap();
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert_eq!(exit.code(), Some(code as i32));
        assert_eq!(wait_pid(child.id(), Some(LONG)).unwrap(), Some(exit));
        assert_eq!(exit.status(), child.wait_timeout(LONG).unwrap());
    }
}

#[test]
fn pid_plus_1_to_3_is_not_found() {
    let child = helper("wait 0");
    // OpenProcess ignores the two lowest bits of a pid.
    for offset in 1..4 {
        let pid = child.id() + offset;
        let error = wait_pid(pid, None).unwrap_err();
        assert!(matches!(error, Error::NotFound { pid: named } if named == pid));
        let error = Process::open_with(pid, Backend::Handle).unwrap_err();
        assert!(matches!(error, Error::NotFound { pid: named } if named == pid));
    }
}

#[test]
fn exited_process_with_open_handles() {
    let mut child = helper("exit 7");
    child.wait().unwrap();
    // `child` still has an open handle, which keeps the pid in use.
    let process = Process::open(child.id()).unwrap();
    assert_eq!(process.backend(), Backend::Handle);
    let exit = process.try_wait().unwrap().unwrap();
    assert_eq!(exit.code(), Some(7));
    assert_eq!(
        wait_pid(child.id(), Some(Duration::ZERO)).unwrap(),
        Some(exit)
    );
}

#[test]
fn event_handle_can_be_waited_for() {
    let mut child = helper("wait 3");
    let process = Process::open(child.id()).unwrap();
    let wait = |process: &Process, milliseconds| {
        let handle = process.as_event_handle().unwrap();
        // SAFETY: the handle is open, as `process` is borrowed.
        unsafe { WaitForSingleObject(handle.as_raw_handle(), milliseconds) }
    };
    assert_ne!(wait(&process, 0), 0);
    drop(child.stdin.take());
    assert_eq!(wait(&process, LONG.as_millis() as u32), 0);
    assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(3));
    let polled = Process::open_with(child.id(), Backend::Polling);
    assert!(polled.is_err() || polled.unwrap().as_event_handle().is_none());
}

/// Removes the right of all users to open the process.
fn deny_access(process: &std::process::Child) {
    // SAFETY: the structures have the sizes that are passed, and live until the calls return. So
    // does the list, to which the descriptor refers.
    unsafe {
        let mut list: ACL = std::mem::zeroed();
        let size = size_of::<ACL>() as u32;
        assert_ne!(InitializeAcl(&mut list, size, ACL_REVISION), 0);
        let mut descriptor: SECURITY_DESCRIPTOR = std::mem::zeroed();
        let descriptor = ptr::from_mut(&mut descriptor).cast();
        assert_ne!(
            InitializeSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION),
            0
        );
        assert_ne!(SetSecurityDescriptorDacl(descriptor, 1, &list, 0), 0);
        let handle = process.as_raw_handle();
        assert_ne!(
            SetKernelObjectSecurity(handle, DACL_SECURITY_INFORMATION, descriptor),
            0,
            "{}",
            std::io::Error::last_os_error()
        );
    }
}

#[test]
fn process_that_cannot_be_opened_is_polled() {
    let mut child = helper("wait 7");
    deny_access(&child);
    let process = Process::open(child.id()).unwrap();
    if process.backend() == Backend::Handle {
        return skip(
            "process_that_cannot_be_opened_is_polled",
            "a user without the debug privilege",
        );
    }
    let cause = process.fallback_cause().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::PermissionDenied);
    match Process::open_with(child.id(), Backend::Handle).unwrap_err() {
        Error::Os { call, pid, source } => {
            assert_eq!((call, pid), ("OpenProcess", child.id()));
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
        }
        error => panic!("{error}"),
    }
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert_eq!(wait_pid(child.id(), Some(SHORT)).unwrap(), None);
    drop(child.stdin.take());
    let exit = process.wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(exit.status(), None);
    child.wait().unwrap();
}

#[test]
fn killed_by_many_threads_while_exiting() {
    for _ in 0..20 {
        let mut child = helper("ignore-stdin");
        let process = Process::open(child.id()).unwrap();
        let mut set = WaitSet::new();
        set.insert(child.id()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| process.kill().unwrap());
                scope.spawn(|| set.kill(child.id()).unwrap());
            }
        });
        assert_eq!(process.wait().unwrap().code(), Some(1));
        assert_eq!(set.wait(None).unwrap().unwrap().1.code(), Some(1));
        child.wait().unwrap();
    }
}

#[test]
fn exit_code_259_is_an_exit() {
    let mut child = helper("exit 259");
    let process = Process::open(child.id()).unwrap();
    wait_pid(child.id(), Some(LONG)).unwrap().unwrap();
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(259));
    child.wait().unwrap();
}

#[test]
fn kill_without_permission() {
    let mut child = helper("wait 7");
    let process = Process::open(child.id()).unwrap();
    let mut set = WaitSet::new();
    set.insert(child.id()).unwrap();
    deny_access(&child);
    if let Ok(opened) = Process::open_with(child.id(), Backend::Handle) {
        drop(opened);
        return skip(
            "kill_without_permission",
            "a user without the debug privilege",
        );
    }
    for result in [process.kill(), set.kill(child.id())] {
        match result.unwrap_err() {
            Error::Os { call, pid, source } => {
                assert_eq!((call, pid), ("OpenProcess", child.id()));
                assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
            }
            error => panic!("{error}"),
        }
    }
    drop(child.stdin.take());
    assert_eq!(process.wait().unwrap().code(), Some(7));
    process.kill().unwrap();
    set.kill(child.id()).unwrap();
    child.wait().unwrap();
}

#[test]
fn zero_timeout_reports_every_exit_of_a_thousand() {
    let mut set = WaitSet::new();
    let mut codes = HashMap::new();
    // Most of them exit at once, because a thousand running processes take too much memory.
    let helpers: Vec<_> = (0..1_000)
        .map(|index| {
            let mut helper = helper(&format!("wait {}", index % 256));
            set.insert(helper.id()).unwrap();
            if index % 20 != 0 {
                drop(helper.stdin.take());
                wait_pid(helper.id(), Some(LONG)).unwrap().unwrap();
                codes.insert(helper.id(), Some(index % 256));
            }
            helper
        })
        .collect();
    while let Some((pid, exit)) = set.wait(Some(Duration::ZERO)).unwrap() {
        assert_eq!(codes.remove(&pid), Some(exit.code()), "reported once");
    }
    assert!(codes.is_empty(), "{} missed", codes.len());
    assert_eq!(set.len(), helpers.len() / 20);
}

/// A check can find an exit before the thread pool reports it. The late event must not be taken for
/// another exit.
#[test]
fn zero_timeout_after_stale_events_reports_every_exit() {
    for _ in 0..80 {
        let mut helpers = [helper("wait 1"), helper("wait 2"), helper("wait 3")];
        let mut set = WaitSet::new();
        for helper in &helpers {
            set.insert(helper.id()).unwrap();
        }
        for (code, helper) in (1..).zip(&mut helpers) {
            drop(helper.stdin.take());
            wait_pid(helper.id(), Some(LONG)).unwrap().unwrap();
            let (_, exit) = set.wait(Some(Duration::ZERO)).unwrap().expect("exited");
            assert_eq!(exit.code(), Some(code));
        }
    }
}
