//! Runs code before the n-th system call of a thread, while the thread is blocked in it. A seccomp
//! filter notifies a supervisor of the calls: see seccomp_unotify(2).

#![allow(unsafe_code, unreachable_pub)]

use crate::{common::skip, seccomp};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction};
use std::{
    io, mem,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    sync::mpsc,
    thread,
};

/// A system call that was intercepted.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: i64,
    pub first_argument: u64,
}

/// Whether the kernel executes an intercepted call, or the call fails with this errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Continue,
    Fail(i32),
}

/// Runs `body` on a new thread whose `calls` are intercepted: `reply` is called before each of
/// them, on the calling thread. The calls of child processes are not intercepted.
///
/// `None`, and the test is skipped, if the system has no such filters.
pub fn intercept<T: Send>(
    test: &str,
    calls: &[i64],
    mut reply: impl FnMut(Call) -> Reply,
    body: impl FnOnce() -> T + Send,
) -> Option<T> {
    let filter = compile(calls);
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        let thread = scope.spawn(move || {
            // SAFETY: gettid takes no arguments.
            let tid = unsafe { libc::gettid() };
            let listener = install(&filter);
            let is_installed = listener.is_ok();
            sender.send(listener.map(|fd| (tid, fd))).unwrap();
            is_installed.then(body)
        });
        let installed = receiver.recv().unwrap();
        let (tid, listener) = installed
            .inspect_err(|error| skip(test, &format!("seccomp with a supervisor: {error}")))
            .ok()?;
        while let Some(notification) = receive(&listener) {
            let call = Call {
                number: notification.data.nr.into(),
                first_argument: notification.data.args[0],
            };
            let answer = if notification.pid as i32 == tid {
                reply(call)
            } else {
                Reply::Continue
            };
            send(&listener, notification.id, answer);
        }
        thread.join().unwrap()
    })
}

fn compile(calls: &[i64]) -> BpfProgram {
    // seccompiler does not know this action, so compile another one and replace it.
    const PLACEHOLDER: u32 = libc::SECCOMP_RET_ERRNO | 4095;
    let mut program = seccomp::compile(calls, SeccompAction::Errno(4095));
    for instruction in &mut program {
        if instruction.k == PLACEHOLDER {
            instruction.k = libc::SECCOMP_RET_USER_NOTIF;
        }
    }
    program
}

fn install(program: &BpfProgram) -> io::Result<OwnedFd> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: prctl takes numbers. seccomp reads a program that lives until it returns and has the
    // layout of the kernel's `sock_fprog`.
    let fd = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: seccomp has just returned this descriptor, so nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Receives the next call. `None` if all threads with the filter have exited.
fn receive(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        let mut fd = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: poll accesses one `pollfd`, which lives until it returns.
        unsafe { libc::poll(&mut fd, 1, -1) };
        if fd.revents & libc::POLLIN == 0 {
            if fd.revents & libc::POLLHUP != 0 {
                return None;
            }
            continue;
        }
        // SAFETY: zero is a valid value of each field, and the kernel requires it.
        let mut notification: libc::seccomp_notif = unsafe { mem::zeroed() };
        // SAFETY: the kernel writes to a notification that lives until ioctl returns.
        let received = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                &raw mut notification,
            )
        };
        // The call fails if the thread was killed in the meantime.
        if received == 0 {
            return Some(notification);
        }
    }
}

fn send(listener: &OwnedFd, id: u64, reply: Reply) {
    let (error, flags) = match reply {
        Reply::Continue => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
        Reply::Fail(errno) => (-errno, 0),
    };
    let mut response = libc::seccomp_notif_resp {
        id,
        val: 0,
        error,
        flags,
    };
    // The call fails if the thread was killed.
    // SAFETY: the kernel reads a response that lives until ioctl returns.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND as _,
            &raw mut response,
        );
    }
}
