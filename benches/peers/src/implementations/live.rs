//! Reads the output of a command as it comes, and keeps nothing.

use super::{Implementation, REPEAT, implementation, output};
use procwait::{Captured, ChildExt as _, Progress};
use std::{
    io::Read as _,
    process::{Child, Stdio},
    time::Duration,
};

/// Returns the number of bytes.
pub type Method = fn(&[&str], Duration) -> usize;

pub const BASELINE: &str = "live-std";
pub const CHILD_EXT: &str = "live-child-ext";

pub fn all() -> Vec<Implementation<Method>> {
    vec![
        implementation(
            BASELINE,
            "`read` from `std::process::ChildStdout`, no timeout",
            std,
        ),
        implementation("live-std-repeat", REPEAT, std),
        implementation(
            CHILD_EXT,
            "**`procwait::ChildExt::read_timeout`**",
            child_ext,
        ),
    ]
}

fn spawn(arguments: &[&str]) -> Child {
    let mut command = output::command(arguments);
    command.stderr(Stdio::inherit()).spawn().unwrap()
}

fn std(arguments: &[&str], _: Duration) -> usize {
    let mut child = spawn(arguments);
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let read = stdout.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        length += read;
    }
    child.wait().unwrap();
    length
}

fn child_ext(arguments: &[&str], timeout: Duration) -> usize {
    let mut child = spawn(arguments);
    let mut captured = Captured::default();
    let mut length = 0;
    loop {
        let progress = child.read_timeout(&mut captured, timeout).unwrap();
        length += captured.stdout.len();
        captured.stdout.clear();
        match progress {
            Progress::Exited(_) => return length,
            progress => assert_eq!(progress, Progress::Read),
        }
    }
}
