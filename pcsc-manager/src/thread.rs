//! Starting threads.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::sync::ChangeCounter;
use pcsc_process::signals;

/// A thread that can be waited for until a deadline.
pub struct Thread {
    handle: JoinHandle<()>,
    /// Moves when it ends. Not a channel: to wait for one allocates memory that cannot be refused.
    end: Arc<ChangeCounter>,
}

/// Is dropped when the thread ends.
struct Guard(Arc<ChangeCounter>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.post();
    }
}

impl Thread {
    /// Starts a thread that no signal is delivered to: the program's signal handlers run in its own threads.
    ///
    /// # Errors
    /// The system's, where it has no room for a thread.
    pub fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<Thread> {
        let end = Arc::<ChangeCounter>::default();
        let guard = Guard(end.clone());
        let builder = std::thread::Builder::new().name(name.to_owned());
        // Blocked by the thread that starts it, and inherited: blocked by the new thread, a signal could come
        // before.
        let handle = signals::blocked(|| {
            builder.spawn(move || {
                // Dropped on a panic as well, so that nobody waits for a thread that has panicked.
                let _guard = guard;
                work();
            })
        })?;
        Ok(Thread { handle, end })
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until it has ended. After the deadline it is left alone: it waits for a device or a descriptor
    /// that does not answer, for instance since the program has closed the descriptor.
    pub fn join_until(self, deadline: Instant) {
        if !self.end.wait(0, Some(deadline)) {
            let name = self.handle.thread().name().unwrap_or_default();
            log::error!("thread {name} does not end");
            return;
        }
        // A panic was reported by its hook. What the thread has left to do is a matter of microseconds, but
        // the library may be unloaded next.
        let _ = self.handle.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn a_thread_that_does_not_end_is_left_alone() {
        let (release, held) = channel::<()>();
        let thread = Thread::spawn("held", Box::new(move || _ = held.recv())).unwrap();
        assert!(!thread.has_ended());
        thread.join_until(Instant::now() + Duration::from_millis(5));
        drop(release);
        let thread = Thread::spawn("short", Box::new(|| ())).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        thread.join_until(deadline);
        assert!(Instant::now() < deadline);
    }
}
