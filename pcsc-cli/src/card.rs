//! A connection to a card, and a transaction: a command waits for another program's only so long.

use std::ffi::CStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pcsc_client::{Card, Context, Disposition, Error, Failure, Protocols, ShareMode, Transaction};

use crate::output::message;
use crate::problem::{Exit, Problem};

/// How long a connection or a transaction waits for another program's transaction to end by default. It is
/// longer than a card takes to be powered up, which is part of connecting.
pub const LIMIT: Duration = Duration::from_secs(10);

/// How long a command waits before it says so.
const SILENCE: Duration = Duration::from_secs(2);

/// Connects to the card in a reader. A transaction of another program makes SCardConnect wait; after the
/// limit this is an error. Dropping the connection leaves the card as it is, as other programs may be using
/// it.
pub fn connect(
    limit: Duration,
    context: &Context,
    reader: &CStr,
    share: ShareMode,
    protocols: Protocols,
) -> Result<Card, Problem> {
    let connected = announced(|| context.connect_timeout(reader, share, protocols, limit));
    let mut card = connected.map_err(|failure| in_time(failure, limit))?;
    card.set_drop_disposition(Disposition::LeaveCard);
    Ok(card)
}

/// Begins a transaction, and gives up after the limit if another program has one. Calls within a transaction
/// do not wait for other programs; the others do, with no limit.
pub fn transaction(limit: Duration, card: &mut Card) -> Result<Transaction<'_>, Problem> {
    let begun = announced(|| card.transaction_timeout(limit));
    begun.map_err(|failure| in_time(failure, limit))
}

/// Calls `wait`, and says what it waits for if it takes long.
fn announced<T>(wait: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    thread::spawn(move || {
        if is_done.recv_timeout(SILENCE) == Err(RecvTimeoutError::Timeout) {
            message("Waiting for the card, or for another program's transaction to end.");
        }
    });
    let result = wait();
    drop(done);
    result
}

fn in_time(failure: Failure, limit: Duration) -> Problem {
    if failure.error() != Error::Timeout {
        return failure.into();
    }
    let text = format!(
        "Another program holds the card in a transaction, which did not end within {} seconds.",
        limit.as_secs_f32()
    );
    let problem = Problem {
        error: Some(failure.error()),
        ..Problem::new(Exit::InUse, text)
    };
    problem.advise("Wait until that program has finished, or close it.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::Choice;

    const SHORT: Duration = Duration::from_millis(50);

    fn context() -> Context {
        let builder = Context::builder().choose_backend(Choice::Simulated);
        builder.establish().expect("the bundled simulated reader")
    }

    #[test]
    fn a_transaction_of_another_program_is_named_after_the_time_limit() {
        let (holder, context) = (context(), context());
        let reader = holder.readers().unwrap().remove(0).name;
        let (shared, any) = (ShareMode::Shared, Protocols::ANY);
        let mut waiting = connect(LIMIT, &context, &reader, shared, any).unwrap();
        let mut card = connect(LIMIT, &holder, &reader, shared, any).unwrap();
        let held = card.transaction().unwrap();
        let problems = [
            connect(SHORT, &context, &reader, shared, any).map(|_| ()),
            transaction(SHORT, &mut waiting).map(|_| ()),
        ];
        for problem in problems.map(Result::unwrap_err) {
            assert_eq!(problem.exit, Exit::InUse, "{problem}");
            assert!(
                problem.text.contains("in a transaction") && problem.text.contains("0.05 seconds"),
                "{problem}"
            );
        }
        drop(held);
        assert!(transaction(LIMIT, &mut waiting).is_ok());
    }
}
