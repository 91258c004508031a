//! Adopted handles, and identities, on Windows.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{Controller, LONG, SHORT, helper, started_later};
use procwait::{Backend, Error, Process, WaitSet};
use std::{
    fs::File,
    io,
    os::windows::io::{
        AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle,
    },
    process, ptr, thread,
    time::Instant,
};
use windows_sys::Win32::{
    Foundation::{DuplicateHandle, HANDLE, WAIT_OBJECT_0},
    System::{
        JobObjects::CreateJobObjectW,
        Threading::{
            CreateEventW, CreateMutexW, GetCurrentProcess, PROCESS_QUERY_LIMITED_INFORMATION,
            PROCESS_SYNCHRONIZE, PROCESS_TERMINATE, WaitForSingleObject,
        },
    },
};

/// Adopts a duplicate of the handle, with all of its rights.
fn adopt(handle: &impl AsHandle) -> Result<Process, Error> {
    Process::from_handle(handle.as_handle().try_clone_to_owned().unwrap())
}

/// Adopts a duplicate of the handle, with only these rights.
fn adopt_with(handle: &impl AsHandle, rights: u32) -> Result<Process, Error> {
    const DO_NOT_INHERIT: i32 = 0;
    let mut duplicate = ptr::null_mut();
    // SAFETY: the handles are open, and `duplicate` is live. Nothing else owns what is written there.
    let duplicate = unsafe {
        let (current, handle) = (GetCurrentProcess(), handle.as_handle().as_raw_handle());
        let result = DuplicateHandle(
            current,
            handle,
            current,
            &mut duplicate,
            rights,
            DO_NOT_INHERIT,
            0,
        );
        assert_ne!(result, 0, "{}", io::Error::last_os_error());
        OwnedHandle::from_raw_handle(duplicate)
    };
    Process::from_handle(duplicate)
}

#[track_caller]
fn assert_denied(error: &Error, denied: &str) {
    match error {
        Error::Os { call, pid, source } => {
            assert_eq!((*call, *pid), (denied, 0));
            assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
        }
        error => panic!("{error}"),
    }
}

#[test]
fn adopted_handles_are_of_their_processes() {
    let mut children = [helper("wait 7"), helper("wait 8")];
    let adopted = children.each_ref().map(|child| adopt(&**child).unwrap());
    for (child, process) in children.iter().zip(&adopted) {
        assert_eq!(process.pid(), child.id());
        assert_eq!(process.backend(), Backend::Handle);
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    }
    drop(children[1].stdin.take());
    assert_eq!(adopted[1].wait().unwrap().code(), Some(8));
    assert_eq!(adopted[0].try_wait().unwrap(), None);
    adopted[0].kill().unwrap();
    assert_eq!(adopted[0].wait().unwrap().code(), Some(1));
}

#[test]
fn exited_process_is_adopted() {
    let mut child = helper("exit 7");
    child.wait().unwrap();
    let process = adopt(&*child).unwrap();
    assert_eq!(process.pid(), child.id());
    assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(7));
    assert!(process.identity().is_some());
    process.kill().unwrap();
}

#[test]
fn handle_with_only_the_right_to_wait() {
    let (mut child, mut other) = (helper("wait 7"), helper("wait 8"));
    let process = adopt_with(&*child, PROCESS_SYNCHRONIZE).unwrap();
    assert_eq!((process.pid(), process.identity()), (0, None));
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
    assert_denied(&process.kill().unwrap_err(), "TerminateProcess");
    let error = WaitSet::new().insert_process(&process).unwrap_err();
    assert!(matches!(error, Error::InvalidPid { pid: 0 }), "{error:?}");

    drop(child.stdin.take());
    assert_eq!(process.wait().unwrap().status(), None);
    process.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    drop(other.stdin.take());
    assert_eq!(other.wait().unwrap().code(), Some(8));
}

#[test]
fn handle_with_the_rights_to_wait_and_to_kill() {
    let mut child = helper("wait 7");
    let process = adopt_with(&*child, PROCESS_SYNCHRONIZE | PROCESS_TERMINATE).unwrap();
    assert_eq!((process.pid(), process.identity()), (0, None));
    process.kill().unwrap();
    assert_eq!(process.wait().unwrap().status(), None);
    process.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

#[test]
fn handle_without_the_right_to_wait() {
    let child = helper("wait 7");
    for rights in [PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE] {
        let error = adopt_with(&*child, rights).unwrap_err();
        assert_denied(&error, "from_handle");
    }
}

/// A new object, which nothing else owns.
fn owned(object: HANDLE) -> OwnedHandle {
    assert!(!object.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: the caller has just created it, and `CloseHandle` closes it.
    unsafe { OwnedHandle::from_raw_handle(object) }
}

/// An event that one wait resets.
fn signaled_event() -> OwnedHandle {
    const AUTO_RESET: i32 = 0;
    const SIGNALED: i32 = 1;
    // SAFETY: neither attributes nor a name are given.
    owned(unsafe { CreateEventW(ptr::null(), AUTO_RESET, SIGNALED, ptr::null()) })
}

#[test]
fn other_objects_are_not_adopted() {
    let thread = thread::spawn(|| thread::park_timeout(LONG));
    let file = File::open(common::test_binary()).unwrap();
    // SAFETY: neither attributes nor a name are given.
    let (mutex, job) = unsafe {
        let mutex = owned(CreateMutexW(ptr::null(), 0, ptr::null()));
        (mutex, owned(CreateJobObjectW(ptr::null(), ptr::null())))
    };
    let event = signaled_event();
    let objects: [(&str, BorrowedHandle<'_>); 5] = [
        ("thread", thread.as_handle()),
        ("file", file.as_handle()),
        ("mutex", mutex.as_handle()),
        ("job", job.as_handle()),
        ("event", event.as_handle()),
    ];
    for (name, object) in objects {
        // A denied access would be that of a process.
        for adopted in [adopt(&object), adopt_with(&object, PROCESS_SYNCHRONIZE)] {
            match adopted.unwrap_err() {
                Error::Os { call, pid, source } => {
                    assert_eq!((call, pid), ("from_handle", 0), "{name}");
                    assert_ne!(source.kind(), io::ErrorKind::PermissionDenied, "{name}");
                }
                error => panic!("{name}: {error}"),
            }
        }
    }
    // SAFETY: the handle is open.
    let waited = unsafe { WaitForSingleObject(event.as_raw_handle(), 0) };
    assert_eq!(waited, WAIT_OBJECT_0, "it was waited for");
    thread.thread().unpark();
    thread.join().unwrap();
}

/// The pseudo handle of the current process has the value of an invalid handle.
#[test]
fn own_process_is_adopted_by_a_real_handle_only() {
    // SAFETY: it takes no arguments.
    let pseudo = unsafe { GetCurrentProcess() };
    // SAFETY: to close it does nothing.
    let adopted = Process::from_handle(unsafe { OwnedHandle::from_raw_handle(pseudo) });
    assert!(matches!(adopted, Err(Error::Os { .. })));
    // SAFETY: it is always open.
    let process = adopt(&unsafe { BorrowedHandle::borrow_raw(pseudo) }).unwrap();
    assert_eq!(process.pid(), process::id());
    assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
}

#[test]
fn adopted_members_of_a_set() {
    let mut children = [helper("wait 7"), helper("wait 8")];
    let mut set = WaitSet::new();
    for child in &children {
        assert!(set.insert_process(&adopt(&**child).unwrap()).unwrap());
        let opened = Process::open(child.id()).unwrap();
        assert!(!set.insert_process(&opened).unwrap());
    }
    for index in [1, 0] {
        drop(children[index].stdin.take());
        let (pid, exit) = set.wait(Some(LONG)).unwrap().unwrap();
        let code = Some(7 + index as i32);
        assert_eq!((pid, exit.code()), (children[index].id(), code));
    }
    assert!(set.is_empty());
}

#[test]
fn identity_is_the_same_for_everyone() {
    let child = helper("wait 7");
    let pid = child.id();
    let identity = Process::open(pid).unwrap().identity().unwrap();
    let same = [Process::open(pid).unwrap(), adopt(&*child).unwrap()];
    for process in &same {
        assert_eq!(process.identity().as_ref(), Some(&identity));
    }
    let polled = Process::open_with(pid, Backend::Polling).unwrap();
    assert_eq!(polled.identity(), None);
    let text = Controller::new("identities").request(&format!("of {pid}"));
    assert_eq!(text, identity.to_string());
    let other = helper("wait 8");
    assert_ne!(adopt(&*other).unwrap().identity(), Some(identity));
}

#[test]
fn open_identity_until_all_handles_are_closed() {
    let mut child = helper("wait 7");
    let identity = adopt(&*child).unwrap().identity().unwrap();
    let open = || Process::open_identity(&identity);
    assert_eq!(open().unwrap().try_wait().unwrap(), None);

    let error = Process::open_identity(&started_later(&identity, 1)).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");

    drop(child.stdin.take());
    child.wait().unwrap();
    let process = open().unwrap();
    assert_eq!(process.try_wait().unwrap().unwrap().code(), Some(7));
    drop((process, child));
    // The system may still have handles for a moment.
    let deadline = Instant::now() + LONG;
    let error = loop {
        match open() {
            Ok(process) => assert!(process.try_wait().unwrap().is_some()),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline);
        thread::yield_now();
    };
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}
