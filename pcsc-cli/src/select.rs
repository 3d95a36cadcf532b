//! The reader that `--reader` means.

use pcsc_client::{Context, ReaderInfo, State};

use crate::output::printable;
use crate::problem::{Exit, Problem};

/// Asks for the first reader with a card.
pub const ANY: &str = "any";

/// What `--reader` accepts, for its help.
pub const HELP: &str =
    "Which reader: its index in `pcsc list`, its name or a part of it, its serial number, \
                        its USB port (1-4.2, or 1-4.2:SLOT), or `any` for the first one with a card";

/// The reader that is asked for. Without a question it is the only one, or the only one with a card.
pub fn one(context: &Context, wanted: Option<&str>) -> Result<ReaderInfo, Problem> {
    let readers = context.readers()?;
    let found = some(&readers, wanted)?;
    let with_card = indices(&readers, has_card);
    match (&found[..], &with_card[..], wanted) {
        ([index], _, _) | (_, [index], None) => Ok(readers[*index].clone()),
        (_, _, None) => Err(ambiguous(&readers, &found, "There are several readers")),
        _ => Err(ambiguous(&readers, &found, "Several readers match")),
    }
}

/// The indices of the readers that are asked for, at least one; without a question those of all.
pub fn some(readers: &[ReaderInfo], wanted: Option<&str>) -> Result<Vec<usize>, Problem> {
    if readers.is_empty() {
        return Err(no_reader());
    }
    let all = indices(readers, |_| true);
    let Some(wanted) = wanted else {
        return Ok(all);
    };
    if wanted == ANY {
        let no_card = || Problem::new(Exit::NoCard, "No reader has a card.").advise("Insert a card.");
        let first = readers.iter().position(has_card).ok_or_else(no_card)?;
        return Ok(vec![first]);
    }
    let found = matching(readers, wanted);
    if found.is_empty() {
        let text = format!("No reader matches {:?}.", printable(wanted));
        let advice = format!("The readers are:{}", names(readers, &all));
        return Err(Problem::new(Exit::NoReader, text).advise(advice));
    }
    Ok(found)
}

/// The problem that no reader is there.
pub fn no_reader() -> Problem {
    Problem::new(Exit::NoReader, "No reader is connected.")
        .advise("Plug one in, wait with pcsc list --wait, or see what pcsc doctor finds.")
}

/// The indices of the readers that `wanted` means. What says more goes first: an index, a whole name, a
/// serial number, a port, and then a part of a name.
pub fn matching(readers: &[ReaderInfo], wanted: &str) -> Vec<usize> {
    // Every name contains an empty one.
    if wanted.trim().is_empty() {
        return Vec::new();
    }
    let is_number = wanted.bytes().all(|byte| byte.is_ascii_digit());
    let index = wanted
        .parse()
        .ok()
        .filter(|index| is_number && *index < readers.len());
    if let Some(index) = index {
        return vec![index];
    }
    // Most names contain a digit: one or two digits are never meant as a part of a name.
    let is_index = is_number && wanted.len() <= 2;
    let name = |reader: &ReaderInfo| reader.name.to_string_lossy().into_owned();
    let port = |reader: &ReaderInfo| {
        let Some(port) = reader.identity.port.as_deref() else {
            return false;
        };
        let with_slot = format!("{port}:{}", reader.identity.slot.unwrap_or(0));
        wanted == port || wanted == with_slot
    };
    let ways: [&dyn Fn(&ReaderInfo) -> bool; 4] = [
        &|reader| name(reader) == wanted,
        &|reader| reader.identity.serial.as_deref() == Some(wanted),
        &port,
        &|reader| !is_index && has_part(&name(reader), wanted),
    ];
    let found = ways.iter().map(|way| indices(readers, way));
    found
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// Whether a name has this part, in either case. Every name contains an empty one, which is never meant.
pub fn has_part(name: &str, part: &str) -> bool {
    !part.trim().is_empty() && name.to_lowercase().contains(&part.to_lowercase())
}

fn has_card(reader: &ReaderInfo) -> bool {
    reader.state.contains(State::PRESENT)
}

fn indices(readers: &[ReaderInfo], fits: impl Fn(&ReaderInfo) -> bool) -> Vec<usize> {
    let readers = readers.iter().enumerate();
    readers
        .filter(|(_, reader)| fits(reader))
        .map(|(index, _)| index)
        .collect()
}

fn ambiguous(readers: &[ReaderInfo], which: &[usize], text: &str) -> Problem {
    Problem::new(Exit::NoReader, format!("{text}.")).advise(format!(
        "Choose one with --reader, by its index, name, serial number or USB port:{}",
        names(readers, which)
    ))
}

fn names(readers: &[ReaderInfo], which: &[usize]) -> String {
    let line = |&index: &usize| {
        let reader = &readers[index];
        let card = if has_card(reader) { ", with a card" } else { "" };
        format!(
            "\n        {index}: {}{card}",
            printable(&reader.name.to_string_lossy())
        )
    };
    which.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcsc_client::Choice;

    /// Readers with these names, serial numbers, ports and slots.
    fn readers() -> Vec<ReaderInfo> {
        let builder = Context::builder().choose_backend(Choice::Simulated);
        let context = builder.establish().expect("the bundled simulated reader");
        let known = context.readers().expect("readers").remove(0);
        let reader = |name: &std::ffi::CStr, serial: &str, port: &str, slot| {
            let mut reader = known.clone();
            reader.name = name.into();
            reader.identity.serial = Some(serial.into());
            reader.identity.port = Some(port.into());
            reader.identity.slot = slot;
            reader
        };
        vec![
            reader(c"Reader 00 00", "1-4", "1-2", Some(0)),
            reader(c"Reader 00 01", "1-4", "1-2", Some(1)),
            reader(c"READER 510", "77", "1-4", None),
            reader(c"1-2", "78", "1-5", None),
        ]
    }

    #[test]
    fn what_says_more_goes_first() {
        let readers = readers();
        for (wanted, expected) in [
            ("3", &[3][..]),
            ("4", &[]),
            ("77", &[2]),
            ("Reader 00 01", &[1]),
            ("reader 00 01", &[1]),
            ("READER 510", &[2]),
            ("510", &[2]),
            // As an index, not as a part of a name.
            ("10", &[]),
            ("reader", &[0, 1, 2]),
            // A name before a port, and a serial number before a port.
            ("1-2", &[3]),
            ("1-4", &[0, 1]),
            ("1-5", &[3]),
            ("1-2:1", &[1]),
            ("1-5:0", &[3]),
            ("1-5:1", &[]),
            ("00", &[0]),
            ("01", &[1]),
            ("000", &[0]),
            ("00 0", &[0, 1]),
            (" ", &[]),
        ] {
            assert_eq!(matching(&readers, wanted), expected, "{wanted:?}");
        }
    }
}
