//! Acts before the n-th system call of a thread, while that thread waits in it: by a seccomp
//! filter that hands the calls to a supervisor, see seccomp_unotify(2).

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

/// What the supervisor does with a call after it was intercepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Continue,
    Fail(i32),
}

/// Runs `body` on a thread of its own, whose `calls` are intercepted: before each, `reply` is
/// called on this thread. Children of that thread are not intercepted.
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
            // SAFETY: takes no arguments.
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
    // Not an action that the library knows: put it in the place of another one.
    const OTHER: u32 = libc::SECCOMP_RET_ERRNO | 4095;
    let mut program = seccomp::compile(calls, SeccompAction::Errno(4095));
    for instruction in &mut program {
        if instruction.k == OTHER {
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
    // SAFETY: takes numbers, and in the second call a program that is live, and in the layout
    // of the kernel, which only reads it.
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
    // SAFETY: the kernel has just opened it for this call.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The next call. `None` if all threads with the filter have ended.
fn receive(listener: &OwnedFd) -> Option<libc::seccomp_notif> {
    loop {
        let mut fd = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: there is one descriptor, which is live.
        unsafe { libc::poll(&mut fd, 1, -1) };
        if fd.revents & libc::POLLIN == 0 {
            if fd.revents & libc::POLLHUP != 0 {
                return None;
            }
            continue;
        }
        // SAFETY: all bits zero are a valid one, and what the kernel requires.
        let mut notification: libc::seccomp_notif = unsafe { mem::zeroed() };
        // SAFETY: the kernel writes a notification to one that is live.
        let received = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV as _,
                &raw mut notification,
            )
        };
        // It fails if the thread was killed meanwhile.
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
    // SAFETY: the kernel reads a response that is live. It fails if the thread was killed.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND as _,
            &raw mut response,
        );
    }
}
