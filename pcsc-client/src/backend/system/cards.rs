//! The connections of a context: the library's handles, which may have 64 bits, by numbers of this crate's.

use std::sync::Arc;

use super::gate::Gate;
use crate::error::{Error, Outcome};
use crate::ffi::SCARDHANDLE;

/// The connections, by number.
#[derive(Debug, Default)]
pub struct Cards(Vec<Option<Connection>>);

/// A connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The library's handle.
    pub handle: SCARDHANDLE,
    /// The gate of its calls.
    pub gate: Arc<Gate>,
}

impl Cards {
    /// Makes room for one more, so that [`Cards::add`] does not fail.
    pub fn reserve(&mut self) -> Outcome<()> {
        self.0.try_reserve(1).map_err(|_| Error::NoMemory)?;
        Ok(())
    }

    /// Adds a connection, and returns its number.
    pub fn add(&mut self, handle: SCARDHANDLE, gate: Arc<Gate>) -> i32 {
        let free = self.0.iter().position(Option::is_none);
        let number = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[number] = Some(Connection { handle, gate });
        number as i32
    }

    /// The connection of a number.
    pub fn get(&self, number: i32) -> Outcome<Connection> {
        let card = usize::try_from(number)
            .ok()
            .and_then(|at| self.0.get(at)?.clone());
        Ok(card.ok_or(Error::InvalidHandle)?)
    }

    /// Removes a connection. A number that has none is ignored.
    pub fn remove(&mut self, number: i32) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|at| self.0.get_mut(at)) {
            *entry = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_unknown_ones_are_refused() {
        let mut cards = Cards::default();
        let add = |cards: &mut Cards, handle| cards.add(handle, Arc::default());
        let handle = |cards: &Cards, number| cards.get(number).unwrap().handle;
        assert_eq!([add(&mut cards, 70), add(&mut cards, 80)], [0, 1]);
        assert_eq!(handle(&cards, 1), 80);
        cards.remove(0);
        for number in [0, 2, -1, i32::MAX] {
            assert_eq!(cards.get(number).unwrap_err().error(), Error::InvalidHandle);
            cards.remove(number);
        }
        assert_eq!(add(&mut cards, 90), 0);
        assert_eq!((handle(&cards, 0), handle(&cards, 1)), (90, 80));
    }
}
