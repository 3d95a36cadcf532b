//! The names of cards, from a smartcard_list.txt that is installed (by pcsc-tools). It has an ATR on a line,
//! in which `.` stands for any digit and `[..]` for one of some, and after it lines of text behind a tab.

use std::path::PathBuf;

use crate::environment::variable;

/// Where pcsc-tools and its users keep the list, the user's own first.
fn places() -> Vec<PathBuf> {
    let home = variable("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = variable("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    vec![
        cache.join("smartcard_list.txt"),
        home.join(".smartcard_list.txt"),
        "/usr/local/share/pcsc/smartcard_list.txt".into(),
        "/usr/share/pcsc/smartcard_list.txt".into(),
    ]
}

/// The names that the first list found has for an ATR; `None` without a list.
pub fn names(atr: &[u8]) -> Option<Vec<String>> {
    let list = places().into_iter().find_map(|place| std::fs::read(place).ok())?;
    Some(names_in(&String::from_utf8_lossy(&list), atr))
}

fn names_in(list: &str, atr: &[u8]) -> Vec<String> {
    let digits = crate::hex::compact(atr);
    let mut is_match = false;
    let mut names = Vec::new();
    for line in list.lines() {
        match line.strip_prefix('\t') {
            Some(name) if is_match => names.push(crate::output::printable(name.trim())),
            Some(_) => (),
            None => is_match = !line.starts_with('#') && matches(line, &digits),
        }
    }
    names
}

/// Whether a pattern fits digits.
fn matches(pattern: &str, digits: &str) -> bool {
    let mut pattern = pattern.chars().filter(|c| !c.is_whitespace());
    let mut digits = digits.chars();
    loop {
        let wanted = match pattern.next() {
            None => return digits.next().is_none(),
            // The end of the few patterns that allow anything to follow.
            Some('.') if pattern.clone().eq(['*']) => return true,
            Some('[') => pattern.by_ref().take_while(|c| *c != ']').collect::<String>(),
            Some(digit) => digit.to_string(),
        };
        match digits.next() {
            Some(digit) if wanted == "." || is_one_of(digit, &wanted) => (),
            _ => return false,
        }
    }
}

/// Whether a digit is among others, in which a dash stands for those between.
fn is_one_of(digit: char, wanted: &str) -> bool {
    let wanted: Vec<char> = wanted.to_ascii_uppercase().chars().collect();
    let is_between =
        |range: &[char]| matches!(range, [first, '-', last] if (*first..=*last).contains(&digit));
    wanted.contains(&digit) || wanted.windows(3).any(is_between)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        "# comment\n\n3B 00\n\tone\n\ttwo\n\n3B 0. 1[1,3] 0[1-3]\n\tthree\n\n3b 7F .*\n\tfour\n";

    #[test]
    fn patterns_fit_whole_atrs() {
        let names = |atr: &[u8]| names_in(LIST, atr);
        assert_eq!(names(&[0x3B, 0x00]), ["one", "two"]);
        assert_eq!(names(&[0x3B, 0x05, 0x13, 0x02]), ["three"]);
        assert_eq!(names(&[0x3B, 0x05, 0x12, 0x02]), [""; 0]);
        assert_eq!(names(&[0x3B, 0x05, 0x13, 0x04]), [""; 0]);
        assert_eq!(names(&[0x3B, 0x00, 0x00]), [""; 0]);
        assert_eq!(names(&[0x3B]), [""; 0]);
        assert_eq!(names(&[0x3B, 0x7F]), ["four"]);
        assert_eq!(names(&[0x3B, 0x7F, 0x01, 0x02]), ["four"]);
        for (third, is_one) in [(0x00, false), (0x01, true), (0x03, true), (0x04, false)] {
            assert_eq!(
                names(&[0x3B, 0x0F, 0x11, third]).len(),
                usize::from(is_one),
                "{third}"
            );
        }
    }
}
