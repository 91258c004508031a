//! Tests of reading output that only Windows needs: synchronous pipes, cancelled reads, files, and
//! handles that cannot be read.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{
    LONG, SHORT, helper_command,
    output::{LEN, assert_consecutive_numbers, pattern, piped},
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

/// A pipe without overlapped I/O: the parent's end and the child's end.
fn synchronous_pipe() -> (ChildStdout, Stdio) {
    let mut ends = [ptr::null_mut(); 2];
    let [parent_end, child_end] = &mut ends;
    // SAFETY: CreatePipe writes the handles to variables that live until it returns.
    let is_created = unsafe { CreatePipe(parent_end, child_end, ptr::null(), 0) };
    assert_ne!(is_created, 0);
    // SAFETY: CreatePipe has just returned these handles, so nothing else owns them.
    let [parent_end, child_end] = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
    (parent_end.into(), child_end.into())
}

#[test]
fn synchronous_pipe_does_not_delay_the_deadline() {
    let (parent_end, child_end) = synchronous_pipe();
    let mut child = spawn(helper_command("ignore-stdin").stdout(child_end));
    child.stdout = Some(parent_end);
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

    let (parent_end, child_end) = synchronous_pipe();
    let quiet = &mut helper_command("write 100000 3");
    let mut child = spawn(quiet.stdout(child_end).stderr(Stdio::null()));
    child.stdout = Some(parent_end);
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert_eq!(status.unwrap().code(), Some(3));
    assert!(captured.stdout == pattern(b'o', LEN));
}

#[test]
fn cancelled_read_keeps_its_data() {
    let mut child = piped("count");
    let mut captured = Captured::default();
    let mut rounds = 0;
    while rounds < 5_000 || captured.stdout.len() < LEN {
        let timeout = Duration::from_micros(rounds % 100);
        assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        rounds += 1;
    }
    child.kill().unwrap();
    child.output_timeout(&mut captured, LONG).unwrap().unwrap();
    assert_consecutive_numbers(&captured.stdout);
    assert_consecutive_numbers(&captured.stderr);
}

/// The path of a temporary file. Dropping it removes the file.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// Also returns the file opened for appending.
    fn new(name: &str) -> (TemporaryFile, File) {
        let name = format!("procwait-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let append = OpenOptions::new().append(true).create(true).open(&path);
        (TemporaryFile(path), append.unwrap())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn file_is_read_until_the_exit() {
    let (temporary, mut append) = TemporaryFile::new("file_is_read_until_the_exit");
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
        let (temporary, append) = TemporaryFile::new("large_file_is_read_completely");
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

/// The handles are of NUL, and of a file opened for overlapped I/O, which has no position.
#[test]
fn unreadable_handle_is_refused_once() {
    let test = "unreadable_handle_is_refused_once";
    let (temporary, _append) = TemporaryFile::new(test);
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

/// Windows reports sockets as pipes, but procwait cannot read them.
#[test]
fn socket_is_refused_once() {
    use std::{
        net::{TcpListener, TcpStream},
        os::windows::io::IntoRawSocket as _,
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _child_end = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let parent_end = listener.accept().unwrap().0.into_raw_socket();
    // SAFETY: the socket is a handle, and nothing else owns it.
    let parent_end = unsafe { OwnedHandle::from_raw_handle(parent_end as *mut _) };
    let mut child = spawn(helper_command("ignore-stdin").stdout(Stdio::null()));
    child.stdout = Some(parent_end.into());
    let mut captured = Captured::default();
    let error = child.output_timeout(&mut captured, SHORT).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error:?}");
    assert!(child.stdout.is_none());
    assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
}
