//! Denies system calls with seccomp, as a sandbox does.

#![allow(dead_code, unreachable_pub)] // No test binary uses all of it.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Makes these calls fail in the current thread from now on.
pub fn deny(calls: &[i64], errno: i32) {
    install_filter(calls, SeccompAction::Errno(errno as u32));
}

/// Takes `action` on these calls of the current thread from now on.
pub fn install_filter(calls: &[i64], action: SeccompAction) {
    apply_filter(&compile(calls, action)).unwrap();
}

/// Makes these calls fail in the current thread from now on if their first argument is a descriptor
/// from `lowest` on. The dynamic linker of a new program has lower ones.
pub fn deny_on_fds_from(lowest: u64, calls: &[i64], errno: i32) {
    let is_fd = |comparison, number| {
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, comparison, number).unwrap()
    };
    let conditions = vec![
        is_fd(SeccompCmpOp::Ge, lowest),
        is_fd(SeccompCmpOp::Le, i32::MAX as u64),
    ];
    let rule = SeccompRule::new(conditions).unwrap();
    let rules = calls.iter().map(|&call| (call, vec![rule.clone()]));
    apply_filter(&program(rules, SeccompAction::Errno(errno as u32))).unwrap();
}

/// Compiles a filter that takes `action` on these calls, and allows all others.
pub fn compile(calls: &[i64], action: SeccompAction) -> BpfProgram {
    program(calls.iter().map(|&call| (call, vec![])), action)
}

fn program(
    rules: impl Iterator<Item = (i64, Vec<SeccompRule>)>,
    action: SeccompAction,
) -> BpfProgram {
    let filter = SeccompFilter::new(
        rules.collect(),
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH.try_into().unwrap(),
    );
    filter.unwrap().try_into().unwrap()
}
