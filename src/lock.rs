//! Locks a mutex, even if a thread has panicked while it held it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// No code of this crate panics while it holds a lock, so what it protects is consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
