//! System calls that are denied for real, as in a sandbox.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// From now on these calls fail in this thread.
pub fn deny(calls: &[i64], errno: i32) {
    filter(calls, SeccompAction::Errno(errno as u32));
}

pub fn filter(calls: &[i64], action: SeccompAction) {
    apply_filter(&compile(calls, action)).unwrap();
}

/// A filter that takes this action at these calls, and allows all others.
pub fn compile(calls: &[i64], action: SeccompAction) -> BpfProgram {
    let filter = SeccompFilter::new(
        calls.iter().map(|&call| (call, vec![])).collect(),
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.unwrap().try_into().unwrap()
}
