//! Waits for readers and their cards by the calls that every program has, with a daemon or without one.

use crate::{Result, LIMIT};
use pcsc_client::{Context, Error, ReaderState, State, PNP_NOTIFICATION};
use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

/// How long a change of the list without an event may stay unseen.
const UNTOLD: Duration = Duration::from_secs(1);

/// Waits for a reader whose name contains `name` and whose state has all bits of `state`, and gives its name.
///
/// The list may still have a reader that was unplugged or reset: one that leaves is looked for again.
pub fn appear(context: &Context, name: &str, state: State) -> Result<CString> {
    let (reader, _) = appear_within(context, name, state, LIMIT)?;
    Ok(reader)
}

/// The same within `limit`, with the state.
pub fn appear_within(
    context: &Context,
    name: &str,
    state: State,
    limit: Duration,
) -> Result<(CString, State)> {
    let end = Instant::now() + limit;
    loop {
        let reader = list(context, end, |names| find(names, name).cloned())?;
        if let Some(seen) = wait(context, &reader, state, end)? {
            return Ok((reader, seen));
        }
    }
}

/// Waits for a reader whose name contains `name`, and gives its name.
pub fn reader(context: &Context, name: &str) -> Result<CString> {
    list(context, Instant::now() + LIMIT, |names| {
        find(names, name).cloned()
    })
}

/// Waits until no reader's name contains `name`.
pub fn gone(context: &Context, name: &str) -> Result<()> {
    let is_gone = |names: &[CString]| find(names, name).is_none().then_some(());
    list(context, Instant::now() + LIMIT, is_gone)
}

fn find<'a>(names: &'a [CString], part: &str) -> Option<&'a CString> {
    names.iter().find(|known| known.to_string_lossy().contains(part))
}

/// Waits until the list of readers is as wanted, and gives what `wanted` finds in it.
fn list<T>(context: &Context, end: Instant, wanted: impl Fn(&[CString]) -> Option<T>) -> Result<T> {
    let mut states = [ReaderState::new(PNP_NOTIFICATION(), State::UNAWARE)];
    loop {
        let names = context.list_readers_owned()?;
        if let Some(found) = wanted(&names) {
            return Ok(found);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("the readers are still {names:?}").into());
        }
        // Before protocol 4.5 a wait does not report what came between the list and itself.
        match context.get_status_change(left.min(UNTOLD), &mut states) {
            Ok(()) | Err(Error::Timeout) => states.iter_mut().for_each(ReaderState::sync_current_state),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until a reader's state has all bits of `state`. `None` if the reader has left the list.
fn wait(context: &Context, reader: &CStr, state: State, end: Instant) -> Result<Option<State>> {
    let mut readers = [ReaderState::new(reader, State::UNAWARE)];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let told = context.get_status_change(left, &mut readers);
        let [seen] = &mut readers;
        match told {
            Err(Error::UnknownReader) => return Ok(None),
            Err(Error::Timeout) => {
                return Err(format!("{reader:?} is in {:?}, not {state:?}", seen.event_state()).into())
            }
            told => told?,
        }
        if seen.event_state().contains(state) {
            return Ok(Some(seen.event_state()));
        }
        seen.sync_current_state();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::sim::{Simulation, VirtualCard};

    struct Card;

    impl VirtualCard for Card {
        fn transmit(&mut self, _: &[u8]) -> Vec<u8> {
            vec![0x90, 0x00]
        }
    }

    #[test]
    fn a_reader_that_has_left_is_looked_for_again() {
        let bus = Simulation::new();
        let reader = bus.plug("scr3310").unwrap();
        let context = bus.context().unwrap();
        let stale = appear(&context, "SCR", State::EMPTY).unwrap();
        reader.unplug();
        gone(&context, "SCR").unwrap();
        let end = Instant::now() + LIMIT;
        assert_eq!(wait(&context, &stale, State::EMPTY, end).unwrap(), None);
        let reader = bus.plug("scr3310").unwrap();
        reader.insert(Card);
        assert_eq!(&*appear(&context, "SCR", State::PRESENT).unwrap(), reader.name());
    }

    #[test]
    fn a_state_that_does_not_come_is_an_error_that_says_what_came() {
        let bus = Simulation::new();
        bus.plug("scr3310").unwrap();
        let context = bus.context().unwrap();
        let limit = Duration::from_millis(10);
        let error = appear_within(&context, "SCR", State::PRESENT, limit).unwrap_err();
        assert!(error.to_string().contains("EMPTY"), "{error}");
        let error = appear_within(&context, "Gnuk", State::PRESENT, limit).unwrap_err();
        assert!(error.to_string().contains("the readers are still"), "{error}");
    }
}
