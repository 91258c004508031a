//! Denies system calls with seccomp, as a sandbox does.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// Makes these calls fail in the current thread from now on.
pub fn deny(calls: &[i64], errno: i32) {
    install_filter(calls, SeccompAction::Errno(errno as u32));
}

/// Takes `action` on these calls of the current thread from now on.
pub fn install_filter(calls: &[i64], action: SeccompAction) {
    apply_filter(&compile(calls, action)).unwrap();
}

/// Compiles a filter that takes `action` on these calls, and allows all others.
pub fn compile(calls: &[i64], action: SeccompAction) -> BpfProgram {
    let filter = SeccompFilter::new(
        calls.iter().map(|&call| (call, vec![])).collect(),
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.unwrap().try_into().unwrap()
}
