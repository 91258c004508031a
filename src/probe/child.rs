//! Our own children: how they exited, without reaping them.

use super::Child;
use crate::{Exit, pid::Pid};
use rustix::{
    io::{Result, retry_on_intr},
    process::{WaitId, WaitIdOptions, WaitIdStatus, waitid},
};

/// How this child of ours exited, if it has; it is left for its owner to reap.
/// An error says that it is not ours (`ECHILD`) or that we may not ask.
pub(crate) fn peek(id: WaitId<'_>) -> Result<Option<Exit>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(id, options)?.map(|status| exit(&status)))
}

pub(crate) fn peek_child(pid: Pid) -> Child {
    match peek(WaitId::Pid(pid.raw())) {
        Ok(Some(exit)) => Child::Exited(exit),
        Ok(None) => Child::Running,
        Err(_) => Child::NotOurs,
    }
}

/// Waits for as long as it takes. `None`: it is not our child, it was reaped
/// meanwhile, or we may not ask.
pub(crate) fn block(pid: Pid) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let status = retry_on_intr(|| waitid(WaitId::Pid(pid.raw()), options)).ok()??;
    Some(exit(&status))
}

/// `waitid` tells the parts of a wait status; put it together again.
fn exit(status: &WaitIdStatus) -> Exit {
    let core_dumped = if status.dumped() { 0x80 } else { 0 };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::from_raw((code & 0xFF) << 8),
        (None, Some(signal)) => Exit::from_raw(signal | core_dumped),
        (None, None) => Exit::UNKNOWN,
    }
}
