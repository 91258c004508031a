//! `poll` over many descriptors, each of which has news once: that it hangs up, or cannot
//! be polled.

use crate::sys::{Token, unix::poll::poll_within};
use rustix::{
    event::{PollFd, PollFlags},
    fd::AsFd,
    io::Errno,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// Does not keep what it holds from being closed.
#[derive(Debug)]
pub(crate) struct PollSet<F>(Vec<(Token, Weak<F>)>);

impl<F: AsFd> PollSet<F> {
    pub(crate) fn new() -> PollSet<F> {
        PollSet(Vec::new())
    }

    pub(crate) fn insert(&mut self, token: Token, file: &Arc<F>) {
        self.0.push((token, Arc::downgrade(file)));
    }

    pub(crate) fn remove(&mut self, file: &Arc<F>) {
        self.0
            .retain(|(_, other)| other.as_ptr() != Arc::as_ptr(file));
    }

    /// Takes out those of which there is news: they would have it ever after.
    pub(crate) fn take(&mut self, longest: Option<Duration>) -> Result<Vec<Token>, Errno> {
        let mut files = Vec::with_capacity(self.0.len());
        self.0.retain(|(_, file)| match file.upgrade() {
            Some(file) => {
                files.push(file);
                true
            }
            None => false,
        });
        let mut fds: Vec<_> = (files.iter())
            .map(|file| PollFd::new(file, PollFlags::empty()))
            .collect();
        let mut news = Vec::with_capacity(poll_within(&mut fds, longest)?);
        let mut fds = fds.iter();
        self.0.retain(|(token, _)| {
            let has_news = fds.next().is_some_and(|fd| !fd.revents().is_empty());
            if has_news {
                news.push(*token);
            }
            !has_news
        });
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::unix::poll::revents;
    use std::{
        io::{self, Write as _},
        os::unix::net::UnixStream,
        thread,
        time::Instant,
    };

    fn token(pid: u32) -> Token {
        Token { pid, generation: 1 }
    }

    /// It hangs up when its other end is closed.
    fn file() -> (Arc<UnixStream>, UnixStream) {
        let (file, other_end) = UnixStream::pair().unwrap();
        (Arc::new(file), other_end)
    }

    /// gVisor does not, if nothing else is polled for.
    fn hang_ups_are_told(test: &str) -> bool {
        let (file, other_end) = file();
        drop(other_end);
        let told = revents(&file, PollFlags::empty(), Some(SHORT * 10)).unwrap();
        let is_told = told.contains(PollFlags::HUP);
        if !is_told {
            // Past the capture of a test's output.
            let lacking = "a `poll` that tells of hang-ups alone";
            writeln!(io::stderr(), "SKIPPED {test}: {lacking}").unwrap();
        }
        is_told
    }

    const NOW: Option<Duration> = Some(Duration::ZERO);
    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn each_hangs_up_once() {
        if !hang_ups_are_told("each_hangs_up_once") {
            return;
        }
        let mut set = PollSet::new();
        let files = [file(), file(), file()];
        for (number, (file, _)) in (1..).zip(&files) {
            set.insert(token(number), file);
        }
        assert_eq!(set.take(NOW).unwrap(), []);
        let [(_one, one), (_two, two), (_three, _there)] = files;
        drop((one, two));
        assert_eq!(set.take(None).unwrap(), [token(1), token(2)]);
        let start = Instant::now();
        assert_eq!(set.take(Some(SHORT)).unwrap(), []);
        assert!(start.elapsed() >= SHORT, "they had news again");
    }

    #[test]
    fn a_sleep_ends_when_one_hangs_up() {
        if !hang_ups_are_told("a_sleep_ends_when_one_hangs_up") {
            return;
        }
        let mut set = PollSet::new();
        let (file, other_end) = file();
        set.insert(token(1), &file);
        let closer = thread::spawn(move || {
            thread::sleep(SHORT);
            drop(other_end);
        });
        assert_eq!(set.take(None).unwrap(), [token(1)]);
        closer.join().unwrap();
    }

    #[test]
    fn what_can_be_read_is_no_news() {
        if !hang_ups_are_told("what_can_be_read_is_no_news") {
            return;
        }
        let (file, mut other_end) = file();
        other_end.write_all(b"!").unwrap();
        let mut set = PollSet::new();
        set.insert(token(1), &file);
        assert_eq!(set.take(NOW).unwrap(), []);
        let none = PollFlags::empty();
        assert_eq!(revents(&file, none, NOW), Ok(none));
        drop(other_end);
        assert_eq!(revents(&file, none, None), Ok(PollFlags::HUP));
    }

    #[test]
    fn what_was_dropped_or_removed_has_no_news() {
        let mut set = PollSet::new();
        let (dropped, ended) = file();
        let (removed, ended_too) = file();
        let (kept, _open) = file();
        for (number, file) in (1..).zip([&dropped, &removed, &kept]) {
            set.insert(token(number), file);
        }
        drop((dropped, ended, ended_too));
        set.remove(&removed);
        assert_eq!(set.take(Some(SHORT)).unwrap(), []);
        assert_eq!(set.0.len(), 1);
    }

    #[test]
    fn an_empty_one_sleeps() {
        let start = Instant::now();
        let mut set = PollSet::<UnixStream>::new();
        assert_eq!(set.take(Some(SHORT)).unwrap(), []);
        assert!(start.elapsed() >= SHORT);
    }
}
