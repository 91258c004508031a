//! What only Windows' pipes have.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{
    LONG, SHORT, helper_command,
    output::{FULL, assert_counts, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::windows::{
        fs::OpenOptionsExt as _,
        io::{FromRawHandle as _, OwnedHandle},
    },
    path::PathBuf,
    process::{ChildStdout, Stdio},
    ptr,
    time::{Duration, Instant},
};
use windows_sys::Win32::{Storage::FileSystem::FILE_FLAG_OVERLAPPED, System::Pipes::CreatePipe};

/// Ours and theirs.
fn synchronous_pipe() -> (ChildStdout, Stdio) {
    let mut ends = [ptr::null_mut(); 2];
    let [ours, theirs] = &mut ends;
    // SAFETY: both handles are written to places that outlive the call.
    assert_ne!(unsafe { CreatePipe(ours, theirs, ptr::null(), 0) }, 0);
    // SAFETY: they were just made, and nobody else has them.
    let [ours, theirs] = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
    (ours.into(), theirs.into())
}

#[test]
fn a_synchronous_pipe_does_not_hold_up_the_deadline() {
    let (ours, theirs) = synchronous_pipe();
    let mut child = spawn(helper_command("ignore-stdin").stdout(theirs));
    child.stdout = Some(ours);
    let mut captured = Captured::default();
    for timeout in [Duration::ZERO, SHORT] {
        let start = Instant::now();
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        assert!(start.elapsed() >= timeout);
    }
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
    assert!(child.stdout.is_none() && captured.stdout.is_empty());

    let (ours, theirs) = synchronous_pipe();
    let quiet = &mut helper_command("write 100000 3");
    let mut child = spawn(quiet.stdout(theirs).stderr(Stdio::null()));
    child.stdout = Some(ours);
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.stdout == pattern(b'o', FULL));
}

#[test]
fn what_arrives_while_a_read_is_called_off_is_kept() {
    let mut child = piped("count");
    let mut captured = Captured::default();
    let mut rounds = 0;
    while rounds < 5_000 || captured.stdout.len() < FULL {
        let timeout = Duration::from_micros(rounds % 100);
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        rounds += 1;
    }
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_counts(&captured.stdout);
    assert_counts(&captured.stderr);
}

/// A file that is removed with it.
struct Temporary(PathBuf);

impl Temporary {
    /// With one handle to append to it.
    fn new(name: &str) -> (Temporary, File) {
        let name = format!("procwait-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let append = OpenOptions::new().append(true).create(true).open(&path);
        (Temporary(path), append.unwrap())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn file_is_read_until_the_exit() {
    let (temporary, mut append) = Temporary::new("file_is_read_until_the_exit");
    let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
    let read = File::open(&temporary.0).unwrap();
    child.stdout = Some(OwnedHandle::from(read).into());
    let mut captured = Captured::default();
    for expected in ["", "first", "first again"] {
        append
            .write_all(&expected.as_bytes()[captured.stdout.len()..])
            .unwrap();
        for timeout in [Duration::ZERO, SHORT] {
            let start = Instant::now();
            assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
            assert!(start.elapsed() >= timeout);
        }
        assert_eq!(captured.stdout, expected.as_bytes());
        assert!(child.stdout.is_some());
    }
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
    assert!(child.stdout.is_none());
}

#[test]
fn large_file_is_read_completely() {
    for timeout in [Duration::ZERO, LONG] {
        let (temporary, append) = Temporary::new("large_file_is_read_completely");
        let mut command = helper_command("write 5000000 3");
        let mut child = spawn(command.stdout(append).stderr(Stdio::null()));
        let read = File::open(&temporary.0).unwrap();
        child.stdout = Some(OwnedHandle::from(read).into());
        if timeout.is_zero() {
            drop(child.stdin.take());
            common::exit_of(child.id());
        }
        let mut captured = Captured::default();
        let status = child.output_timeout(&mut captured, timeout).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(captured.stdout == pattern(b'o', 5_000_000));
        assert!(child.stdout.is_none());
    }
}

/// NUL, and a file that has no position of its own.
#[test]
fn what_is_neither_a_pipe_nor_a_synchronous_file_is_refused_once() {
    let test = "what_is_neither_a_pipe_nor_a_synchronous_file_is_refused_once";
    let (temporary, _append) = Temporary::new(test);
    let overlapped = || {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(FILE_FLAG_OVERLAPPED);
        options.open(&temporary.0).unwrap()
    };
    for handle in [File::open("NUL").unwrap(), overlapped()] {
        let mut command = helper_command("write 1000 3");
        let mut child = spawn(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        child.stdout = Some(OwnedHandle::from(handle).into());
        let mut captured = Captured::default();
        let error = child.output_timeout(&mut captured, LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(child.stdout.is_none());
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(captured.stdout.is_empty() && captured.stderr == pattern(b'e', 1000));
    }
}

/// Windows reports it as a pipe.
#[test]
fn socket_is_refused_once() {
    use std::{
        net::{TcpListener, TcpStream},
        os::windows::io::IntoRawSocket as _,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0.into_raw_socket();
    // SAFETY: the socket is a handle, which nobody else has.
    let ours = unsafe { OwnedHandle::from_raw_handle(ours as *mut _) };
    let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
    child.stdout = Some(ours.into());
    let mut captured = Captured::default();
    let error = child.output_timeout(&mut captured, SHORT).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error:?}");
    assert!(child.stdout.is_none());
    assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
}
