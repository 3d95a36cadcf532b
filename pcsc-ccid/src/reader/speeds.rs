//! Which speeds have failed with which cards.

use alloc::vec::Vec;

/// How many cards are remembered.
const MAX_CARDS: usize = 64;

/// For each card, by its ATR and protocol, how many steps down from the fastest it takes to work.
#[derive(Debug, Default)]
pub struct Speeds {
    /// The card seen last is the last one.
    cards: Vec<(Vec<u8>, u8, usize)>,
}

impl Speeds {
    /// How many steps down from the fastest to begin with.
    pub fn steps(&self, atr: &[u8], protocol: u8) -> usize {
        self.cards
            .iter()
            .find(|(card, of, _)| card == atr && *of == protocol)
            .map_or(0, |(_, _, steps)| *steps)
    }

    /// Remembers that it takes so many steps.
    pub fn remember(&mut self, atr: &[u8], protocol: u8, steps: usize) {
        self.cards
            .retain(|(card, of, _)| !(card == atr && *of == protocol));
        if steps > 0 {
            if self.cards.len() == MAX_CARDS {
                self.cards.remove(0);
            }
            self.cards.push((atr.to_vec(), protocol, steps));
        }
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
}
