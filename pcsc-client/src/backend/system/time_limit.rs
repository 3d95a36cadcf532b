//! Time limits for calls that have none in the library.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::gate::Gate;
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_process::signals;

/// Takes the gate, makes a call in a thread of its own, and waits for its result until the deadline. A call
/// whose gate is not free by then is not made. One that goes on after the deadline keeps the gate until
/// `undo` has taken back what the call returns. So a gate has one thread at most.
///
/// # Errors
/// [`Error::Timeout`], and those of the call.
pub fn until<T: Send + 'static>(
    gate: &Arc<Gate>,
    deadline: Instant,
    call: impl FnOnce() -> Outcome<T> + Send + 'static,
    undo: impl FnOnce(T) + Send + 'static,
) -> Outcome<T> {
    let held = gate.take(Some(deadline))?;
    // Without room: a result is either received or sent back here. The gate goes with it.
    let (sender, receiver) = mpsc::sync_channel(0);
    let run = move || {
        if let Err(mpsc::SendError((held, late))) = sender.send((held, call())) {
            if let Ok(late) = late {
                undo(late);
            }
            drop(held);
        }
    };
    // The program's signal handlers run in its own threads.
    signals::blocked(|| thread::Builder::new().name("pcsc-call".into()).spawn(run))
        .map_err(|error| Failure::because(Error::NoMemory, Cause::System(error)))?;
    let left = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        // The gate comes back with the result, and is freed here: the next call does not overtake this one.
        Ok((_held, result)) => result,
        Err(RecvTimeoutError::Timeout) => {
            // The thread keeps the gate as long as there is a receiver.
            gate.set_late();
            Err(Error::Timeout.into())
        }
        // The call has panicked.
        Err(RecvTimeoutError::Disconnected) => Err(Error::InternalError.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_late_result_is_undone_and_one_in_time_is_not() {
        let gate = Arc::default();
        let (undone, is_undone) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel();
        let undo = {
            let undone = undone.clone();
            move |value| undone.send(value).unwrap()
        };
        let call = move || {
            goes_on.recv().unwrap();
            Ok(1)
        };
        let late = until(&gate, Instant::now(), call, undo);
        assert_eq!(late.unwrap_err().error(), Error::Timeout);

        // A call that follows is not made while the late one goes on, nor afterwards.
        let soon = Instant::now() + Duration::from_millis(1);
        let never = || -> Outcome<()> { panic!("a call is made after its deadline") };
        let refused = until(&gate, soon, never, |()| ());
        assert_eq!(refused.unwrap_err().error(), Error::Timeout);

        // The gate is free after the undo.
        go_on.send(()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let in_time = until(
            &gate,
            deadline,
            || Ok(2),
            move |value| undone.send(value).unwrap(),
        );
        assert_eq!(in_time.unwrap(), 2);
        // The thread has dropped its sender without a value.
        assert_eq!(is_undone.iter().collect::<Vec<_>>(), [1]);
        // The caller has freed the gate before it returned.
        drop(gate.take(Some(Instant::now())).unwrap());
    }
}
