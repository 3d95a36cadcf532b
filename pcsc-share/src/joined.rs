//! Sources that are joined into one list, and the names of their readers in it.

use std::borrow::Cow;
use std::sync::Arc;

use pcsc_wire::NAME_SIZE;

use crate::source::Source;

/// The longest name that clients take, in bytes: it ends with a NUL.
const LONGEST: usize = NAME_SIZE - 1;

/// A source, and how its readers are called in the server's list.
#[derive(Clone)]
#[non_exhaustive]
pub struct Joined {
    /// The source.
    pub source: Arc<dyn Source>,
    /// What distinguishes its readers from those of the other sources. Empty if they keep their names.
    pub label: String,
}

impl Joined {
    /// A source whose readers have this label.
    pub fn new(source: Arc<dyn Source>, label: impl Into<String>) -> Joined {
        let label = label.into();
        Joined { source, label }
    }

    /// Sources in the order of the list. The readers of the first one keep their names, and those of the
    /// others have the label `source 2` and so on: a name does not depend on which sources are there.
    pub fn numbered(sources: impl IntoIterator<Item = Arc<dyn Source>>) -> Vec<Joined> {
        let sources = sources.into_iter().zip(1..);
        sources
            .map(|(source, number)| Joined {
                source,
                label: Joined::default_label(number),
            })
            .collect()
    }

    /// The label of source `number`, from 1, that has no other.
    pub fn default_label(number: usize) -> String {
        match number {
            1 => String::new(),
            number => format!("source {number}"),
        }
    }

    /// The name in the list of the reader that the source calls `name`. The label goes before the two numbers
    /// at the end of a name, where PC/SC Lite has the serial number. A name that would be too long loses its
    /// middle.
    pub fn name_of<'n>(&self, name: &'n [u8]) -> Cow<'n, [u8]> {
        if self.label.is_empty() {
            return Cow::Borrowed(&name[..name.len().min(LONGEST)]);
        }
        let (front, numbers) = name.split_at(start_of_numbers(name));
        let label = format!(" ({})", self.label);
        // The numbers stay: programs read the slot from them, and without them two names could be the same.
        let room = LONGEST.saturating_sub(label.len() + numbers.len());
        let front = &front[..front.len().min(room)];
        let mut joined = [front, label.as_bytes(), numbers].concat();
        joined.truncate(LONGEST);
        Cow::Owned(joined)
    }
}

/// Where ` 00 00` begins, the numbers of reader and slot; the end of a name without them.
fn start_of_numbers(name: &[u8]) -> usize {
    let start = name.len().saturating_sub(6);
    match name[start..] {
        [b' ', a, b, b' ', c, d] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => start,
        _ => name.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Named;

    #[test]
    fn the_label_stands_before_the_numbers() {
        let sources = (0..2).map(|_| Arc::new(Named::default()) as Arc<dyn Source>);
        let [first, second] = <[Joined; 2]>::try_from(Joined::numbered(sources)).ok().unwrap();
        let cases: [(&str, &str); 6] = [
            ("Reader (4711) 00 01", "Reader (4711) (source 2) 00 01"),
            ("Reader 0A FF", "Reader (source 2) 0A FF"),
            ("Reader", "Reader (source 2)"),
            ("Reader 00-00", "Reader 00-00 (source 2)"),
            (" 00 00", " (source 2) 00 00"),
            ("", " (source 2)"),
        ];
        for (name, expected) in cases {
            assert_eq!(&*first.name_of(name.as_bytes()), name.as_bytes());
            assert_eq!(&*second.name_of(name.as_bytes()), expected.as_bytes(), "{name:?}");
        }
        // The name of an upstream's reader, without its NUL.
        assert_eq!(first.name_of(&[b'R'; NAME_SIZE]).len(), LONGEST);
        let long = ["R".repeat(121), " 00 07".into()].concat();
        let joined = second.name_of(long.as_bytes());
        assert_eq!(joined.len(), 127);
        assert!(joined.ends_with(b"RRR (source 2) 00 07"), "{joined:?}");
        let labelled = Joined {
            label: "x".repeat(200),
            ..second
        };
        assert_eq!(labelled.name_of(long.as_bytes()).len(), 127);
    }
}
