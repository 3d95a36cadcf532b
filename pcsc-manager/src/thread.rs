//! Starting threads.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::sync::{lock, wait_until};
use pcsc_process::signals;

/// A thread that can be waited for until a deadline.
pub struct Thread {
    handle: JoinHandle<()>,
    end: Arc<End>,
}

/// Whether a thread has ended. Not a channel: to wait for one allocates memory that cannot be refused.
#[derive(Default)]
struct End {
    has_come: Mutex<bool>,
    came: Condvar,
}

/// Is dropped when the thread ends.
struct Guard(Arc<End>);

impl Drop for Guard {
    fn drop(&mut self) {
        *lock(&self.0.has_come) = true;
        self.0.came.notify_all();
    }
}

impl Thread {
    /// Starts a thread that no signal is delivered to: the program's signal handlers run in its own threads.
    ///
    /// # Errors
    /// The system's, where it has no room for a thread.
    pub fn spawn(name: &str, work: Box<dyn FnOnce() + Send>) -> std::io::Result<Thread> {
        let end = Arc::<End>::default();
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
        let mut has_come = lock(&self.end.has_come);
        while !*has_come {
            has_come = match wait_until(&self.end.came, has_come, Some(deadline)) {
                Ok(has_come) => has_come,
                Err(_) => {
                    let name = self.handle.thread().name().unwrap_or_default();
                    log::error!("thread {name} does not end");
                    return;
                }
            };
        }
        drop(has_come);
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
