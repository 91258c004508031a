//! A service that cleans up and exits when its parent exits. It answers each connection to SOCKET
//! with its pid, and removes SOCKET at the end.
//!
//! `exit_with_parent SOCKET [PARENT]`
//!
//! PARENT is the pid of the parent, which passes its own (`$$` in a shell, `std::process::id()` in
//! Rust). A program whose parent exits gets another one at once: process 1, or a subreaper
//! (`PR_SET_CHILD_SUBREAPER` in prctl(2)). With PARENT, the service notices if that has happened
//! before it could look, and exits. Without, it waits for the parent that it has found.
//!
//! `PR_SET_PDEATHSIG` (prctl(2)) has the same race. It also sends its signal when only the thread
//! that started the service exits, and none after the `execve` of a set-user-ID program.
//!
//! A parent outside of the service's pid namespace has no pid in it, and `getppid` returns 0: then
//! the service fails or, with PARENT, exits at once. Use a pipe there: when the parent exits, the
//! other end is read to its end.

#[cfg(unix)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{env, fs, os::unix::net::UnixListener, sync::mpsc, thread};

    let mut arguments = env::args().skip(1);
    let socket = arguments
        .next()
        .ok_or("usage: exit_with_parent SOCKET [PARENT]")?;
    let expected = arguments.next().map(|pid| pid.parse()).transpose()?;
    let Some(parent) = open_parent(expected)? else {
        return Ok(());
    };
    // Fails if the file exists, for example because an earlier service could not remove it.
    let listener = UnixListener::bind(&socket)?;
    let (sender, end) = mpsc::channel();
    thread::spawn({
        let sender = sender.clone();
        move || sender.send(parent.wait().map(drop).map_err(Into::into))
    });
    thread::spawn(move || sender.send(serve(&listener)));
    let result = end.recv()?;
    // The standard streams can be pipes to the parent, so from here on, `println!` can panic.
    fs::remove_file(&socket)?;
    Ok(result?)
}

/// Opens the parent. `None` if it has exited.
#[cfg(unix)]
fn open_parent(expected: Option<u32>) -> Result<Option<procwait::Process>, procwait::Error> {
    use std::os::unix::process::parent_id;

    let pid = expected.unwrap_or_else(parent_id);
    let parent = procwait::Process::open(pid);
    // If it still is the parent, it had the pid all the time, and was opened. If not, the pid may
    // have been another process's already.
    if parent_id() != pid {
        return Ok(None);
    }
    parent.map(Some)
}

/// The work.
#[cfg(unix)]
fn serve(listener: &std::os::unix::net::UnixListener) -> std::io::Result<()> {
    use std::io::Write as _;

    for connection in listener.incoming() {
        // The client may have closed the connection.
        let _ = writeln!(connection?, "{}", std::process::id());
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() {
    println!("std has no parent_id on this OS: the parent has to pass a handle to itself");
}
