//! The difference of two texts, on one screen.

use std::fmt::Write as _;

/// The most lines that are printed.
const LINES: usize = 24;

/// The most characters of a line that are printed.
const WIDTH: usize = 160;

/// How much of a line's equal beginning is printed before the first difference.
const BEFORE: usize = 40;

/// Texts with more lines than this are compared line by line, without an alignment: that takes time and
/// memory for each pair of lines.
const ALIGNED: usize = 3000;

/// Checks that two texts, each with the name of its origin, have the same lines.
///
/// # Panics
/// If they differ, with the lines that do and nothing else: at most a screen.
#[track_caller]
pub fn assert_same(what: &str, (expected_name, expected): (&str, &str), (actual_name, actual): (&str, &str)) {
    let [expected, actual] = [expected, actual].map(|text| text.lines().collect::<Vec<_>>());
    let changes = changes(&expected, &actual);
    assert!(
        changes.is_empty(),
        "{what}: {} lines differ\n--- {expected_name}\n+++ {actual_name}\n{}",
        changes.len(),
        screen(&changes)
    );
}

/// The end of a text: at most this number of lines, and how many precede them.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let skipped = all.len().saturating_sub(lines);
    let mut tail = String::new();
    if skipped > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(tail, "({skipped} lines before)");
    }
    for line in &all[skipped..] {
        let _ = writeln!(tail, "{}", cut(line, 0));
    }
    tail
}

/// A line that only one of the texts has at this place, or two different lines at the same place. Numbers
/// begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change<'a> {
    number: usize,
    expected: Option<&'a str>,
    actual: Option<&'a str>,
}

fn changes<'a>(expected: &[&'a str], actual: &[&'a str]) -> Vec<Change<'a>> {
    let same_start = expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
    let (expected, actual) = (&expected[same_start..], &actual[same_start..]);
    let ends = expected.iter().rev().zip(actual.iter().rev());
    let same_end = ends.take_while(|(a, b)| a == b).count();
    let (expected, actual) = (
        &expected[..expected.len() - same_end],
        &actual[..actual.len() - same_end],
    );
    let common = if expected.len().max(actual.len()) > ALIGNED {
        let pairs = expected.iter().zip(actual).enumerate();
        pairs
            .filter(|(_, (a, b))| a == b)
            .map(|(at, _)| (at, at))
            .collect()
    } else {
        common(expected, actual)
    };

    let mut changes = Vec::new();
    let (mut left, mut right) = (0, 0);
    for (next_left, next_right) in common.into_iter().chain([(expected.len(), actual.len())]) {
        let (removed, added) = (&expected[left..next_left], &actual[right..next_right]);
        for at in 0..removed.len().max(added.len()) {
            changes.push(Change {
                number: same_start + left + at + 1,
                expected: removed.get(at).copied(),
                actual: added.get(at).copied(),
            });
        }
        (left, right) = (next_left + 1, next_right + 1);
    }
    changes
}

/// The places of a longest common subsequence.
fn common(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    // The length of the longest common subsequence from each pair of places on.
    let width = right.len() + 1;
    let mut lengths = vec![0_u16; (left.len() + 1) * width];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            lengths[l * width + r] = if left[l] == right[r] {
                lengths[(l + 1) * width + r + 1] + 1
            } else {
                lengths[(l + 1) * width + r].max(lengths[l * width + r + 1])
            };
        }
    }
    let (mut l, mut r, mut places) = (0, 0, Vec::new());
    while l < left.len() && r < right.len() {
        if left[l] == right[r] {
            places.push((l, r));
            (l, r) = (l + 1, r + 1);
        } else if lengths[(l + 1) * width + r] >= lengths[l * width + r + 1] {
            l += 1;
        } else {
            r += 1;
        }
    }
    places
}

fn screen(changes: &[Change<'_>]) -> String {
    let mut text = String::new();
    let mut printed = 0;
    for (at, change) in changes.iter().enumerate() {
        let size = usize::from(change.expected.is_some()) + usize::from(change.actual.is_some());
        if printed + size > LINES {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "(and {} more)", changes.len() - at);
            break;
        }
        printed += size;
        let start = match (change.expected, change.actual) {
            (Some(expected), Some(actual)) => {
                let pairs = expected.chars().zip(actual.chars());
                pairs.take_while(|(a, b)| a == b).count()
            }
            _ => 0,
        };
        for (sign, line) in [('-', change.expected), ('+', change.actual)] {
            if let Some(line) = line {
                let _ = writeln!(text, "{:>5} {sign} {}", change.number, cut(line, start));
            }
        }
    }
    text
}

/// The part of a line around its character number `around`.
fn cut(line: &str, around: usize) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    let start = if around < WIDTH { 0 } else { around - BEFORE };
    let mut part: String = line.chars().skip(start).take(WIDTH).collect();
    if start > 0 {
        part.insert(0, '…');
    }
    if line.chars().count() > start + WIDTH {
        part.push('…');
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(expected: &str, actual: &str) -> String {
        let panic = std::panic::catch_unwind(|| assert_same("list", ("stock", expected), ("ours", actual)));
        *panic
            .expect_err("they differ")
            .downcast::<String>()
            .expect("a text")
    }

    #[test]
    fn the_same_text_passes() {
        assert_same("list", ("stock", "a\nb"), ("ours", "a\nb\n"));
    }

    #[test]
    fn a_line_of_one_text_alone_shifts_nothing() {
        let text = failure("a\nb\nc\nd\n", "a\nb\nnew\nc\nd\n");
        assert_eq!(text, "list: 1 lines differ\n--- stock\n+++ ours\n    3 + new\n");
        let text = failure("a\nold\nb\nc\n", "a\nb\nC\n");
        assert_eq!(
            text,
            "list: 2 lines differ\n--- stock\n+++ ours\n    2 - old\n    4 - c\n    4 + C\n"
        );
    }

    #[test]
    fn an_absent_text_differs() {
        assert!(failure("", "a").ends_with("    1 + a\n"));
        assert!(failure("a", "").ends_with("    1 - a\n"));
    }

    #[test]
    fn thousands_of_differences_are_one_screen() {
        for lines in [100, ALIGNED + 1] {
            let [left, right] = ["left", "right"].map(|side| {
                let lines = (0..lines).map(|number| format!("{} {side} {number}\n", "x".repeat(1000)));
                lines.collect::<String>()
            });
            let text = failure(&left, &right);
            assert!(text.lines().count() <= LINES + 4, "{text}");
            assert!(
                text.lines().all(|line| line.chars().count() < WIDTH + 20),
                "{text}"
            );
            assert!(text.contains("left 0") && text.contains("right 0"), "{text}");
            assert!(
                text.ends_with(&format!("(and {} more)\n", lines - LINES / 2)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_tail_says_how_much_it_leaves_out() {
        assert_eq!(tail("1\n2\n3\n", 2), "(1 lines before)\n2\n3\n");
        assert_eq!(tail("1\n2\n", 2), "1\n2\n");
    }
}
