//! Tests of input and output that only Windows needs: synchronous pipes, cancelled reads, writes that
//! outlive a call, files, and handles that cannot be read or written.

#![cfg(windows)]
#![allow(unsafe_code)]

mod common;

use common::{
    Helper, LONG, SHORT, helper_command,
    output::{LEN, assert_consecutive_numbers, pattern, piped},
    spawn,
};
use procwait::{Captured, ChildExt as _, CommandExt as _};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::windows::{
        fs::OpenOptionsExt as _,
        io::{FromRawHandle as _, OwnedHandle},
    },
    path::PathBuf,
    process::{ChildStdout, Stdio},
    ptr, thread,
    time::{Duration, Instant},
};
use windows_sys::Win32::{Storage::FileSystem::FILE_FLAG_OVERLAPPED, System::Pipes::CreatePipe};

/// A pipe without overlapped I/O: the end to read and the end to write.
fn synchronous_pipe() -> (OwnedHandle, OwnedHandle) {
    let mut ends = [ptr::null_mut(); 2];
    let [reader, writer] = &mut ends;
    // SAFETY: CreatePipe writes the handles to variables that live until it returns.
    let is_created = unsafe { CreatePipe(reader, writer, ptr::null(), 0) };
    assert_ne!(is_created, 0);
    // SAFETY: CreatePipe has just returned these handles, so nothing else owns them.
    let [reader, writer] = ends.map(|end| unsafe { OwnedHandle::from_raw_handle(end) });
    (reader, writer)
}

#[test]
fn synchronous_pipe_does_not_delay_the_deadline() {
    let (parent_end, child_end) = synchronous_pipe();
    let mut child = spawn(helper_command("ignore-stdin").stdout(child_end));
    child.stdout = Some(parent_end.into());
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
    child.stdout = Some(parent_end.into());
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

/// More than fits into a pipe, and into a write that is pending.
const MUCH: usize = 1_000_000;

fn input() -> Vec<u8> {
    pattern(b'i', MUCH)
}

/// A child that copies its input once its standard output, which is returned, has been read. By then
/// its standard input is full, and a write to it pending.
fn with_pending_write() -> (Helper, ChildStdout, Captured) {
    let mut child = piped("alternate 1 cat");
    let stdout = child.stdout.take().unwrap();
    let captured = write_until_full(&mut child, Captured::default().input(input()));
    (child, stdout, captured)
}

fn write_until_full(child: &mut Helper, mut captured: Captured) -> Captured {
    loop {
        let before = captured.unwritten().len();
        assert_eq!(child.output_timeout(&mut captured, SHORT).unwrap(), None);
        if captured.unwritten().len() == before {
            assert!(before > 0 && child.stdin.is_some());
            return captured;
        }
    }
}

/// What the child has copied of its input.
fn copied(captured: &Captured) -> &[u8] {
    let (first, copied) = captured.stdout.split_at(LEN);
    assert!(first == pattern(b'o', LEN));
    copied
}

#[test]
fn pending_write_continues_in_later_calls() {
    let (mut child, stdout, mut captured) = with_pending_write();
    child.stdout = Some(stdout);
    // In another thread, to which it moves.
    let run = || {
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(copied(&captured) == input());
        assert!(captured.unwritten().is_empty() && child.stdin.is_none());
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap());
}

#[test]
fn pending_write_is_cancelled_if_the_input_is_dropped() {
    for is_replaced in [true, false] {
        let (mut child, stdout, captured) = with_pending_write();
        let written = MUCH - captured.unwritten().len();
        let mut captured = if is_replaced {
            captured.input("new")
        } else {
            drop(captured);
            Captured::default().input("new")
        };
        child.stdout = Some(stdout);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        assert!(copied(&captured) == [&input()[..written], b"new"].concat());
    }
}

#[test]
fn pending_write_does_not_keep_closed_stdin_open() {
    for is_dropped in [false, true] {
        let (mut child, stdout, mut captured) = with_pending_write();
        let written = MUCH - captured.unwritten().len();
        drop(child.stdin.take());
        if is_dropped {
            captured = Captured::default();
        }
        child.stdout = Some(stdout);
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert!(status.unwrap().success());
        // The child may also read what was pending.
        let copied = copied(&captured);
        assert!(copied.len() >= written && input().starts_with(copied));
    }
}

/// The system cancels the write. It cannot be repeated, as the child may have read a part of it.
#[test]
fn pending_write_of_a_thread_that_exits_is_not_repeated() {
    let (mut child, stdout, mut captured) = thread::spawn(with_pending_write).join().unwrap();
    child.stdout = Some(stdout);
    let error = child.output_timeout(&mut captured, LONG).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(child.stdin.is_none());
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(status.unwrap().success());
    let written = MUCH - captured.unwritten().len();
    assert!(written < MUCH && copied(&captured) == &input()[..written]);
}

#[test]
fn exit_is_reported_while_a_write_is_pending() {
    let mut child = piped("ignore-stdin");
    let mut captured = write_until_full(&mut child, Captured::default().input(input()));
    let unwritten = captured.unwritten().len();
    child.kill().unwrap();
    let status = child.output_timeout(&mut captured, LONG).unwrap();
    assert!(!status.unwrap().success());
    assert_eq!(captured.unwritten().len(), unwritten);
}

/// The pending write was to the pipe of the first command.
#[test]
fn unwritten_input_goes_to_the_next_command() {
    let mut captured = Captured::default().input(input());
    let mut command = helper_command("ignore-stdin");
    let output = command.output_timeout_with(&mut captured, SHORT).unwrap();
    assert!(output.timed_out);
    let unwritten = captured.unwritten().to_vec();
    assert!(!unwritten.is_empty());
    let output = helper_command("cat").output_timeout_with(&mut captured, LONG);
    assert!(output.unwrap().status.success());
    assert!(captured.stdout == unwritten && captured.unwritten().is_empty());
}

#[test]
fn input_is_written_to_a_file() {
    let (temporary, mut append) = TemporaryFile::new("input_is_written_to_a_file");
    append.write_all(b"before").unwrap();
    for timeout in [SHORT, Duration::ZERO] {
        let mut child = spawn(helper_command("ignore-stdin").stdin(Stdio::null()));
        child.stdin = Some(OwnedHandle::from(append.try_clone().unwrap()).into());
        let mut captured = Captured::default().input(pattern(b'i', 5_000_000));
        while !captured.unwritten().is_empty() {
            assert!(child.stdin.is_some());
            assert_eq!(child.output_timeout(&mut captured, timeout).unwrap(), None);
        }
        assert!(child.stdin.is_none());
    }
    let written = pattern(b'i', 5_000_000);
    let expected = [b"before", &written[..], &written[..]].concat();
    assert!(std::fs::read(&temporary.0).unwrap() == expected);
}

/// The handles are of a synchronous pipe, of NUL, and of a file opened for overlapped I/O.
#[test]
fn unwritable_handle_is_refused() {
    let (temporary, _append) = TemporaryFile::new("unwritable_handle_is_refused");
    let mut options = OpenOptions::new();
    options.write(true);
    let nul = options.open("NUL").unwrap();
    options.custom_flags(FILE_FLAG_OVERLAPPED);
    let overlapped = options.open(&temporary.0).unwrap();
    let (_reader, writer) = synchronous_pipe();
    for handle in [writer, nul.into(), overlapped.into()] {
        let mut command = helper_command("write 1000 3");
        let mut child = spawn(command.stdin(Stdio::null()).stderr(Stdio::null()));
        child.stdin = Some(handle.into());
        let mut captured = Captured::default().input("input");
        for timeout in [Duration::ZERO, SHORT, LONG] {
            let error = child.output_timeout(&mut captured, timeout).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
            assert_eq!(captured.unwritten(), b"input");
            assert!(child.stdin.is_some() && captured.stdout.is_empty());
        }
        let mut captured = captured.input("");
        let status = child.output_timeout(&mut captured, LONG).unwrap();
        assert_eq!(status.unwrap().code(), Some(3));
        assert!(child.stdin.is_none() && captured.stdout == pattern(b'o', 1000));
    }
}
