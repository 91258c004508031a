//! Tests with non-children: the children of a helper.

mod common;

use common::{Grandchild, LONG, SHORT, open_by_all};
use procwait::{Error, Exit, wait_pid};
use std::{thread, time::Duration};

/// Asserts the exit code. The status may be unknown if this process may not see it, but never
/// wrong.
fn assert_code_or_unknown(exit: Exit, code: i32) {
    assert!(
        exit.status().is_none() || exit.code() == Some(code),
        "{exit:?} instead of {code}"
    );
}

#[test]
fn running_process_times_out() {
    let grandchild = Grandchild::new("wait 7");
    assert_eq!(wait_pid(grandchild.pid, Some(SHORT)).unwrap(), None);
    assert_eq!(
        wait_pid(grandchild.pid, Some(Duration::ZERO)).unwrap(),
        None
    );
    for process in &open_by_all(grandchild.pid) {
        assert_eq!(process.wait_timeout(SHORT).unwrap(), None);
        assert_eq!(process.try_wait().unwrap(), None);
    }
}

#[test]
fn zombie_has_exited() {
    let mut grandchild = Grandchild::new("wait 7");
    grandchild.end();
    let exit = wait_pid(grandchild.pid, Some(LONG)).unwrap().unwrap();
    assert_code_or_unknown(exit, 7);
    #[cfg(all(target_os = "linux", not(kqueue_on_linux)))]
    let code = common::proc_shows_exit_codes("zombie_has_exited").then_some(7);
    #[cfg(all(target_os = "linux", not(kqueue_on_linux)))]
    assert_eq!(exit.code(), code);
    // A zombie can still be opened.
    for process in &open_by_all(grandchild.pid) {
        let exit = process.wait_timeout(LONG).unwrap().unwrap();
        assert_code_or_unknown(exit, 7);
        #[cfg(all(target_os = "linux", not(kqueue_on_linux)))]
        assert_eq!(exit.code(), code);
    }
    grandchild.reap();
}

#[test]
fn reaped_before_check() {
    let mut grandchild = Grandchild::new("wait 7");
    let processes = open_by_all(grandchild.pid);
    grandchild.end();
    grandchild.reap();
    for process in &processes {
        let exit = process.try_wait().unwrap().expect("has exited");
        assert_code_or_unknown(exit, 7);
        assert_eq!(process.wait().unwrap(), exit);
    }
}

#[test]
fn reaped_during_the_wait() {
    for _ in 0..20 {
        let mut grandchild = Grandchild::new("wait 7");
        let pid = grandchild.pid;
        let mut waiters: Vec<_> = open_by_all(pid)
            .into_iter()
            .map(|process| thread::spawn(move || process.wait_timeout(LONG)))
            .collect();
        waiters.push(thread::spawn(move || wait_pid(pid, Some(LONG))));
        grandchild.end();
        grandchild.reap();
        for waiter in waiters {
            match waiter.join().unwrap() {
                Ok(exit) => assert_code_or_unknown(exit.expect("has exited"), 7),
                // The process may have been reaped before `wait_pid` opened it.
                Err(Error::NotFound { pid: named }) => assert_eq!(named, pid),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
#[cfg(unix)] // On Windows, another process may have the pid already.
fn reaped_process_is_not_found() {
    let mut grandchild = Grandchild::new("exit 0");
    grandchild.reap();
    let error = wait_pid(grandchild.pid, None).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}
