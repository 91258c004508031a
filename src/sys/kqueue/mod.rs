//! macOS, iOS and the BSDs.

mod handle;
mod poller;
mod queue;
mod rules;
mod wake_event;

pub(crate) use self::{
    handle::Handle,
    poller::{Member, Poller},
};

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        #[path = "../../../tests/emulation/kqueue.rs"]
        mod emulation;
        #[path = "../../../tests/emulation/process_table.rs"]
        mod process_table;
        use emulation as os;
        use emulation::system;
        use process_table::exists;
        pub(crate) use process_table::{
            Fingerprint, SNAPSHOT_CALL, peek_child, scope, snapshot, try_wait,
        };
    } else {
        use super::unix::posix::exists;
        use rustix::event::kqueue as os;

        cfg_if::cfg_if! {
            if #[cfg(target_os = "macos")] {
                mod apple;
                pub(crate) use apple::{Fingerprint, SNAPSHOT_CALL, scope, snapshot};
            } else if #[cfg(target_vendor = "apple")] {
                pub(crate) use super::unix::posix::{
                    Fingerprint, SNAPSHOT_CALL, scope, snapshot,
                };
            } else {
                mod bsd;
                pub(crate) use bsd::{Fingerprint, SNAPSHOT_CALL, scope, snapshot};
            }
        }
        #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
        pub(crate) use bsd::{peek_child, try_wait};
        #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
        pub(crate) use super::unix::child::{peek_child, try_wait};

        const fn system() -> rules::System {
            use rules::System;
            if cfg!(target_vendor = "apple") {
                System::Apple
            } else if cfg!(target_os = "dragonfly") {
                System::DragonFly
            } else if cfg!(target_os = "freebsd") {
                System::FreeBsd
            } else if cfg!(target_os = "netbsd") {
                System::NetBsd
            } else {
                System::OpenBsd
            }
        }
    }
}
