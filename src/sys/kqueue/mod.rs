//! macOS and the BSDs.

pub(crate) mod handle;
pub(crate) mod poller;
mod rules;

cfg_if::cfg_if! {
    if #[cfg(kqueue_on_linux)] {
        #[path = "../../../tests/emulation/kqueue.rs"]
        mod emulation;
        #[path = "../../../tests/emulation/process_table.rs"]
        pub(crate) mod process_table;
    } else if #[cfg(target_vendor = "apple")] {
        #[cfg(target_os = "macos")]
        pub(crate) mod apple;
        pub(crate) use crate::sys::unix::child;
        #[cfg(target_os = "macos")]
        pub(crate) use apple as table;
        #[cfg(not(target_os = "macos"))]
        pub(crate) use crate::sys::unix::posix as table;
    } else {
        pub(crate) mod bsd;
        pub(crate) use bsd as table;
        #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
        pub(crate) use bsd::child;
        #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
        pub(crate) use crate::sys::unix::child;
    }
}
