//! The threads that serve clients. One that has no client any more waits for the next, so that a program's
//! first call need not wait for a new thread.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use crate::sync::lock;

/// A thread of this name. The driver's calls need some ten kilobytes of its stack; what is not touched costs
/// nothing.
pub fn builder(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into()).stack_size(256 * 1024)
}

/// How many threads are kept without a client: enough for programs that come one after another. Each takes
/// about 20 KiB of memory.
const KEPT: usize = 1;

/// What a thread does for one client.
type Work = Box<dyn FnOnce() + Send>;

/// Threads that serve clients. They end with what is dropped last: this, or their client.
#[derive(Default)]
pub struct Threads(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    state: Mutex<PoolState>,
    given: Condvar,
}

#[derive(Default)]
struct PoolState {
    /// How many threads wait. Each of `given` is for one of them.
    count: usize,
    given: VecDeque<Work>,
    is_over: bool,
}

impl Threads {
    /// Has a thread do this.
    ///
    /// # Errors
    /// Where none waits and none can be started.
    pub fn run(&self, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = lock(&self.0.state);
        // By both counts: a thread that was given work and has not woken up yet still counts as waiting.
        if state.given.len() < state.count {
            state.given.push_back(Box::new(work));
            drop(state);
            self.0.given.notify_one();
            return Ok(());
        }
        drop(state);
        let waiting = self.0.clone();
        builder("pcsc-client").spawn(move || {
            work();
            while let Some(work) = waiting.next() {
                work();
            }
        })?;
        Ok(())
    }
}

impl Waiting {
    /// Waits for the next client. `None` if this thread is to end.
    fn next(&self) -> Option<Work> {
        let mut state = lock(&self.state);
        // Otherwise a burst of clients would leave its threads behind.
        if state.count == KEPT {
            return None;
        }
        state.count += 1;
        let work = loop {
            if let Some(work) = state.given.pop_front() {
                break Some(work);
            }
            if state.is_over {
                break None;
            }
            state = self.given.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.count -= 1;
        work
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        lock(&self.0.state).is_over = true;
        self.0.given.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread::ThreadId;

    /// Runs this many at a time, and returns the threads that did.
    fn ran(threads: &Threads, count: usize) -> Vec<ThreadId> {
        let (ran, ids) = mpsc::channel();
        let go_on = Arc::new(std::sync::Barrier::new(count + 1));
        for _ in 0..count {
            let (ran, go_on) = (ran.clone(), go_on.clone());
            let work = move || {
                ran.send(thread::current().id()).unwrap();
                go_on.wait();
            };
            threads.run(work).unwrap();
        }
        let ids = ids.iter().take(count).collect();
        go_on.wait();
        ids
    }

    fn wait_for(threads: &Threads, waiting: usize) {
        while lock(&threads.0.state).count != waiting {
            thread::yield_now();
        }
    }

    #[test]
    fn threads_serve_one_client_after_another() {
        let threads = Threads::default();
        let first = ran(&threads, 1);
        wait_for(&threads, 1);
        assert_eq!(ran(&threads, 1), first);
        wait_for(&threads, 1);
        // More at a time than wait, and more than are kept.
        let many = ran(&threads, KEPT + 3);
        assert_eq!(many.len(), KEPT + 3);
        assert!(many.contains(&first[0]));
        wait_for(&threads, KEPT);
        let again = ran(&threads, KEPT);
        assert!(again.iter().all(|id| many.contains(id)));
    }

    #[test]
    fn a_panic_ends_one_thread_alone() {
        let threads = Threads::default();
        threads.run(|| panic!("on purpose")).unwrap();
        assert_eq!(ran(&threads, 1).len(), 1);
        wait_for(&threads, 1);
    }

    #[test]
    fn a_thread_that_waits_ends_with_the_server() {
        let threads = Threads::default();
        ran(&threads, 1);
        wait_for(&threads, 1);
        let waiting = Arc::downgrade(&threads.0);
        drop(threads);
        while waiting.strong_count() > 0 {
            thread::yield_now();
        }
    }
}
