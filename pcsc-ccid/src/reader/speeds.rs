//! Memory of the speeds that have failed with a card.
//!
//! A card that goes mute in the middle of an exchange may be too slow; it may also have been moved, or have
//! received a command that it does not survive. So the first failure slows it down until it is powered off.
//! Only the second one is remembered.

use alloc::vec::Vec;

/// How many cards are remembered.
const MAX_CARDS: usize = 64;

/// For each card, by its ATR and protocol, how many steps down from the fastest it takes to work.
#[derive(Debug, Default)]
pub struct Speeds {
    /// In the order of their use, the most recent last.
    cards: Vec<Card>,
}

#[derive(Debug, Default)]
struct Card {
    atr: Vec<u8>,
    protocol: u8,
    /// The step to begin with.
    steps: usize,
    /// All steps before this one have failed once in the middle of an exchange.
    doubted: usize,
}

impl Speeds {
    /// How many steps down from the fastest to begin with.
    pub fn steps(&self, atr: &[u8], protocol: u8) -> usize {
        self.cards
            .iter()
            .find(|card| card.is(atr, protocol))
            .map_or(0, |card| card.steps)
    }

    /// Records that the card needs this number of steps down.
    pub fn remember(&mut self, atr: &[u8], protocol: u8, steps: usize) {
        self.change(atr, protocol, |card| card.steps = steps);
    }

    /// Records that an exchange has failed at this number of steps down; returns whether one had before.
    pub fn doubt(&mut self, atr: &[u8], protocol: u8, steps: usize) -> bool {
        self.change(atr, protocol, |card| {
            let has_failed_before = steps < card.doubted;
            card.doubted = card.doubted.max(steps + 1);
            has_failed_before
        })
    }

    fn change<R>(&mut self, atr: &[u8], protocol: u8, change: impl FnOnce(&mut Card) -> R) -> R {
        let known = self.cards.iter().position(|card| card.is(atr, protocol));
        let mut card = match known {
            Some(place) => self.cards.remove(place),
            None => Card {
                atr: atr.to_vec(),
                protocol,
                ..Card::default()
            },
        };
        let result = change(&mut card);
        if card.steps > 0 || card.doubted > 0 {
            // The first one has not been used for the longest time.
            if self.cards.len() == MAX_CARDS {
                self.cards.remove(0);
            }
            self.cards.push(card);
        }
        result
    }
}

impl Card {
    fn is(&self, atr: &[u8], protocol: u8) -> bool {
        self.atr == atr && self.protocol == protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_card_is_forgotten() {
        let mut speeds = Speeds::default();
        for card in 0..=MAX_CARDS as u8 {
            speeds.remember(&[0x3B, card], 1, 2);
        }
        assert_eq!(speeds.steps(&[0x3B, 0], 1), 0);
        assert_eq!(speeds.steps(&[0x3B, 1], 1), 2);
        assert_eq!(
            speeds.steps(&[0x3B, 1], 0),
            0,
            "another protocol is another matter"
        );
        speeds.remember(&[0x3B, 1], 1, 0);
        assert_eq!(speeds.steps(&[0x3B, 1], 1), 0);
    }

    #[test]
    fn cards_that_work_at_full_speed_take_no_place() {
        let mut speeds = Speeds::default();
        speeds.remember(&[0x3B, 0], 1, 2);
        for card in 1..=MAX_CARDS as u8 {
            speeds.remember(&[0x3B, card], 1, 0);
        }
        assert_eq!(speeds.steps(&[0x3B, 0], 1), 2);
    }

    #[test]
    fn each_speed_is_doubted_once() {
        let mut speeds = Speeds::default();
        let card = [0x3B, 0x00];
        // A card that goes down step by step, and again when it comes back.
        assert_eq!([0, 1].map(|steps| speeds.doubt(&card, 0, steps)), [false; 2]);
        // That a speed was agreed on says nothing for it.
        speeds.remember(&card, 0, 0);
        assert_eq!(
            [0, 1, 2].map(|steps| speeds.doubt(&card, 0, steps)),
            [true, true, false]
        );
        assert!(!speeds.doubt(&card, 1, 0), "another protocol is another matter");
    }
}
