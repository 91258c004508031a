//! `SetWaker`: ends a wait of a set from another thread.

use super::WaitSet;
use crate::{
    deadline::{Deadline, sleep_on, sleep_until},
    lock::lock,
    sys::{Poller, SetPoller as _, Token, WakeEvent},
};
use std::{
    fmt, mem, process,
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Ends a wait of a [`WaitSet`] from another thread.
///
/// [`WaitSet::waker`] makes it, and says what it does.
pub struct SetWaker(Arc<WakeState>);

impl SetWaker {
    pub(super) fn new(state: &Arc<WakeState>) -> SetWaker {
        if state.is_owner() {
            lock(&state.inner).wakers += 1;
        }
        SetWaker(state.clone())
    }

    /// Ends the wait of the set that is under way, or else the next one, with `Ok(None)`.
    ///
    /// Exits that happened before are returned first, and later ones do not delay it. (If many
    /// members are polled, their exits can come later, as polling takes at most 10 % of a core.)
    /// Several wakes before that `Ok(None)` are one. What this thread did before is visible after it.
    ///
    /// In a forked child, this does nothing. Do not call it in a signal handler.
    pub fn wake(&self) {
        if self.0.is_owner() {
            self.0.wake(&mut lock(&self.0.inner));
        }
    }
}

impl Clone for SetWaker {
    fn clone(&self) -> SetWaker {
        SetWaker::new(&self.0)
    }
}

/// Wakes the set if it is the last one: an empty set does not wait without a waker.
impl Drop for SetWaker {
    fn drop(&mut self) {
        if !self.0.is_owner() {
            return;
        }
        let mut inner = lock(&self.0.inner);
        inner.wakers -= 1;
        if inner.wakers == 0 {
            self.0.wake(&mut inner);
        }
    }
}

impl fmt::Debug for SetWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetWaker").finish_non_exhaustive()
    }
}

/// What a set shares with its wakers.
#[derive(Debug)]
pub(super) struct WakeState {
    /// Set only while `inner` is locked.
    is_woken: AtomicBool,
    inner: Mutex<Inner>,
    /// Ends a wait for events. None while there is no descriptor for it. Set only while `inner` is
    /// locked, so that a waker that does not find it has woken the set before.
    event: OnceLock<Arc<dyn WakeEvent>>,
    /// Where the set sleeps if it does not wait for events.
    condvar: Condvar,
    /// The process that made it. In a forked child, another thread of the parent can have locked
    /// `inner` for good, and the event is still the parent's.
    owner: u32,
}

#[derive(Debug, Default)]
struct Inner {
    wakers: usize,
    /// Whether the set sleeps on the condition variable.
    is_sleeping: bool,
}

impl Default for WakeState {
    fn default() -> WakeState {
        WakeState {
            is_woken: AtomicBool::new(false),
            inner: Mutex::default(),
            event: OnceLock::new(),
            condvar: Condvar::new(),
            owner: process::id(),
        }
    }
}

impl WakeState {
    pub(super) fn is_owner(&self) -> bool {
        /// If a sandbox denies `getpid`, which std does not expect.
        const DENIED: u32 = u32::MAX;
        let id = process::id();
        id == self.owner || id == DENIED
    }

    fn wake(&self, inner: &mut Inner) {
        if self.is_woken.swap(true, Ordering::Release) {
            return;
        }
        if let Some(event) = self.event.get() {
            event.signal();
        }
        if inner.is_sleeping {
            self.condvar.notify_all();
        }
    }

    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Relaxed) && self.is_owner()
    }

    /// Makes visible what the threads that woke the set did before that. Does not take the lock, as a
    /// thread that wakes the set holds it until it has signaled the event. (If that comes after this, the
    /// next sleep ends early, and the wait goes on.)
    pub(super) fn take(&self) {
        self.is_woken.swap(false, Ordering::Acquire);
    }

    pub(super) fn has_wakers(&self) -> bool {
        self.is_owner() && lock(&self.inner).wakers > 0
    }

    pub(super) fn event(&self) -> Option<&dyn WakeEvent> {
        self.event.get().map(Arc::as_ref)
    }

    pub(super) fn set_event(&self, event: Arc<dyn WakeEvent>) {
        let _inner = self.is_owner().then(|| lock(&self.inner));
        let _ = self.event.set(event);
    }

    /// Sleeps until a wake, or until the deadline.
    pub(super) fn sleep_until(&self, deadline: Deadline) {
        if !self.is_owner() {
            return sleep_until(deadline);
        }
        let mut inner = lock(&self.inner);
        inner.is_sleeping = true;
        let mut inner = sleep_on(&self.condvar, inner, deadline, || self.is_woken());
        inner.is_sleeping = false;
    }
}

impl WaitSet {
    /// Makes the wake event, unless there is one. `None` if there is no descriptor for it, or no
    /// waker.
    pub(super) fn connect_wake_event(&self) -> Option<()> {
        let wake = self.wake.get()?;
        if wake.event().is_none() {
            let poller = self.poller.as_ref()?;
            wake.set_event(poller.wake_event(&self.ready).ok()?);
        }
        Some(())
    }

    /// Whether there is a waker that cannot end a wait for events. (It does end a sleep without
    /// events.)
    pub(super) fn has_unconnected_waker(&self) -> bool {
        let is_unconnected = |wake: &Arc<WakeState>| wake.event().is_none() && wake.has_wakers();
        self.wake.get().is_some_and(is_unconnected)
    }

    pub(super) fn has_wakers(&self) -> bool {
        self.wake.get().is_some_and(|wake| wake.has_wakers())
    }

    pub(super) fn has_new_wake(&self) -> bool {
        !self.wake_is_queued && self.wake.get().is_some_and(|wake| wake.is_woken())
    }

    /// Puts a wake into the ready queue, behind the exits that have happened.
    pub(super) fn queue_wake(&mut self) {
        let mut has_just_failed = false;
        if let Some(poller) = &mut self.poller {
            let fails = poller.take_events(&self.ready).is_err();
            has_just_failed = fails && !mem::replace(&mut self.poller_failed, fails);
        }
        if self.must_poll() && (has_just_failed || self.backoff.is_within_budget()) {
            // The error replaces the wake.
            self.failure = self.check_polled().err().or(self.failure.take());
        } else if let Some(failed) = self.failed {
            self.failure = self.check_member(failed, &mut false).err();
        }
        if Poller::HAS_LATE_EVENTS {
            self.sweep();
        }
        self.ready.push(Token::WAKE);
        self.wake_is_queued = true;
    }

    /// From now on, the wake event is signaled while there is something to return. `None` if there
    /// is no descriptor for it.
    #[cfg(unix)]
    pub(super) fn lend_event(&self) -> Option<()> {
        self.wake.get_or_init(Arc::default);
        self.connect_wake_event()?;
        self.lends_event.store(true, Ordering::Relaxed);
        self.update_event();
        Some(())
    }

    /// Keeps the descriptor that the set lends readable while there is something to return.
    pub(crate) fn update_event(&self) {
        if !self.lends_event.load(Ordering::Relaxed) {
            return;
        }
        let wake = self.wake.get().filter(|wake| wake.is_owner());
        let Some((wake, event)) = wake.and_then(|wake| Some((wake, wake.event()?))) else {
            return;
        };
        let is_stale = |token: Token| token != Token::WAKE && !self.is_member(token);
        self.ready.drop_first_while(is_stale);
        // No wake is under way meanwhile, which the reset could hide, or which could signal after it.
        let _inner = lock(&wake.inner);
        if !self.ready.is_empty() || !self.replaced.is_empty() || wake.is_woken() {
            event.signal();
        } else {
            event.reset();
        }
    }
}
