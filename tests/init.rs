//! Tests of process 1 of a container that has children of its own, as docs/recipes.md says.

#![cfg(target_os = "linux")]

mod common;

use common::{LONG, in_namespaces};
use nix::{
    errno::Errno,
    sys::wait::{Id, WaitPidFlag, waitid, waitpid},
};
use procwait::ChildExt as _;
use std::{
    fs, io,
    os::unix::process::CommandExt as _,
    process::{self, Child, Command, Stdio},
    sync::{Condvar, Mutex},
    thread,
};

/// Reaps the orphans that process 1 has adopted, and leaves each child that was started with
/// [`spawn`](Reaper::spawn) to its owner.
struct Reaper {
    /// The pids of the children that have owners. One can be in it twice: a new child can get the
    /// pid of one that has been reaped, before that is released.
    owned: Mutex<Vec<u32>>,
    released: Condvar,
}

impl Reaper {
    const fn new() -> Reaper {
        Reaper {
            owned: Mutex::new(Vec::new()),
            released: Condvar::new(),
        }
    }

    fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // Locked, as the child can exit before its pid is known. And if `execve` fails, std reaps the
        // child, and panics if it is gone.
        let mut owned = self.owned.lock().unwrap();
        let child = command.spawn()?;
        owned.push(child.id());
        Ok(child)
    }

    /// Its owner calls this once it has reaped the child.
    fn release(&self, child: &Child) {
        let mut owned = self.owned.lock().unwrap();
        let index = owned.iter().position(|&pid| pid == child.id());
        owned.swap_remove(index.expect("not started by `spawn`"));
        self.released.notify_all();
    }

    /// Runs in a thread of its own, until there are no children.
    fn run(&self) -> nix::Result<()> {
        loop {
            // This reports the same zombie again until it has been reaped.
            let pid = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Ok(status) => status.pid().expect("WNOHANG is not set"),
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(()),
                Err(error) => return Err(error),
            };
            let is_owned = |owned: &mut Vec<u32>| owned.contains(&(pid.as_raw() as u32));
            let owned = self.owned.lock().unwrap();
            let owned = self.released.wait_while(owned, is_owned).unwrap();
            // Fails if it has been reaped meanwhile, by its owner or by std. Then another process
            // can have its pid, and run.
            let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            drop(owned);
        }
    }
}

#[test]
#[allow(unsafe_code)]
fn init_reaps_orphans_and_leaves_children_to_their_owners() {
    static REAPER: Reaper = Reaper::new();

    let options = "--user --map-root-user --pid --fork --mount-proc";
    let options: Vec<&str> = options.split(' ').collect();
    in_namespaces(&options, "true", || {
        assert_eq!(process::id(), 1);
        // Runs as long as the others, as the reaper ends when there are no children.
        let mut cat = REAPER
            .spawn(Command::new("cat").stdin(Stdio::piped()))
            .unwrap();
        let reaper = thread::spawn(|| REAPER.run());
        let owners = [(); 4].map(|()| {
            thread::spawn(|| {
                for code in 0..50 {
                    // Leaves two orphans: one that exits at once, and one that runs on.
                    let script = format!("true & sleep 0.1 & exit {code}");
                    let mut shell = Command::new("sh");
                    let mut child = REAPER.spawn(shell.args(["-c", &script])).unwrap();
                    let status = child.wait_timeout(LONG).unwrap().unwrap();
                    assert_eq!(status.code(), Some(code));
                    REAPER.release(&child);

                    let mut missing = Command::new("/missing");
                    // SAFETY: it does nothing, but makes std call `fork` instead of `posix_spawn`.
                    unsafe { missing.pre_exec(|| Ok(())) };
                    let error = REAPER.spawn(&mut missing).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::NotFound);
                }
            })
        });
        for owner in owners {
            owner.join().unwrap();
        }
        drop(cat.stdin.take());
        assert!(cat.wait().unwrap().success());
        REAPER.release(&cat);
        reaper.join().unwrap().unwrap();
        let entries = fs::read_dir("/proc").unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let pids: Vec<u32> = names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect();
        assert_eq!(pids, [1]);
    });
}
