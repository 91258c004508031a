//! The one reader of foreign text: `/proc/PID/stat` and `/proc/self/status`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| procwait::fuzz_procfs(bytes));
