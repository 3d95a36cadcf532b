//! The numbers of users and groups.

use std::fs;
use std::path::Path;

use crate::problem::{Exit, Problem};

/// The number of a user, by name or number.
pub fn user(name: &str) -> Result<u32, Problem> {
    number("user", "passwd", name)
}

/// The number of a group, by name or number.
pub fn group(name: &str) -> Result<u32, Problem> {
    number("group", "group", name)
}

/// Looks a name up in a file of /etc whose lines have the name first and the number third, between colons.
/// Accounts of other sources, such as LDAP, are given by their numbers.
fn number(kind: &str, database: &str, name: &str) -> Result<u32, Problem> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string(Path::new("/etc").join(database)).unwrap_or_default();
    in_text(&text, name).ok_or_else(|| {
        let text = format!("There is no {kind} {name:?} in /etc/{database}.");
        let advice = format!("Give its number instead, which getent {database} {name} shows.");
        Problem::new(Exit::Usage, text).advise(advice)
    })
}

fn in_text(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        is_it.then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_numbers_are_taken() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbroken\nuser:x:1000:77::/:/bin/sh\n";
        assert_eq!(in_text(text, "user"), Some(1000));
        assert_eq!(in_text(text, "broken"), None);
        assert_eq!(in_text(text, "other"), None);
        assert_eq!(user("root").unwrap(), 0);
        assert_eq!(group("12345").unwrap(), 12345);
        assert_eq!(group("no such group").unwrap_err().exit, Exit::Usage);
    }
}
