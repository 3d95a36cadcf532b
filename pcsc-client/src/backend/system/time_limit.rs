//! Time limits for calls that have none in the library.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::error::{Cause, Error, Failure, Outcome};

/// Makes a call in a thread of its own, and waits for its result until the deadline. When that has passed,
/// the call goes on, and `undo` gets what it returns.
///
/// # Errors
/// [`Error::Timeout`], and those of the call.
pub fn until<T: Send + 'static>(
    deadline: Instant,
    call: impl FnOnce() -> Outcome<T> + Send + 'static,
    undo: impl FnOnce(T) + Send + 'static,
) -> Outcome<T> {
    // Without room: a result is either received or sent back here.
    let (sender, receiver) = mpsc::sync_channel(0);
    let run = move || {
        if let Err(mpsc::SendError(Ok(late))) = sender.send(call()) {
            undo(late);
        }
    };
    thread::Builder::new()
        .name("pcsc-call".into())
        .spawn(run)
        .map_err(|error| Failure::because(Error::NoMemory, Cause::System(error)))?;
    let left = deadline.saturating_duration_since(Instant::now());
    match receiver.recv_timeout(left) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(Error::Timeout.into()),
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
        let late = until(Instant::now(), call, undo);
        assert_eq!(late.unwrap_err().error(), Error::Timeout);
        go_on.send(()).unwrap();
        assert_eq!(is_undone.recv(), Ok(1));

        let deadline = Instant::now() + Duration::from_secs(60);
        let in_time = until(deadline, || Ok(2), move |value| undone.send(value).unwrap());
        assert_eq!(in_time.unwrap(), 2);
        // The thread has dropped its sender without a value.
        assert_eq!(is_undone.recv().ok(), None);
    }
}
