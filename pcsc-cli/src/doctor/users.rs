//! Which programs use a library.

use std::fs;

use crate::output::printable;

/// The processes that have loaded a library whose path contains `library`, by name and number, as far as
/// this user may see. pcscd does not say which of its clients has a transaction; these are its clients.
pub fn of(library: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut users: Vec<(u32, String)> = pids
        .filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/maps")).is_ok_and(|maps| maps.contains(library))
        })
        .filter_map(|pid| Some((pid, fs::read_to_string(format!("/proc/{pid}/comm")).ok()?)))
        .collect();
    users.sort();
    let shown = |(pid, name): (u32, String)| format!("{} (process {pid})", printable(name.trim()));
    users.into_iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_is_named_by_a_library_that_it_has_loaded() {
        let mut command = Command::new("cat");
        let mut cat = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cat can be started");
        // Once it answers, its libraries are loaded.
        let mut input = cat.stdin.take().expect("a pipe");
        input.write_all(b"x").expect("a pipe");
        let mut answer = [0];
        let mut output = cat.stdout.take().expect("a pipe");
        output.read_exact(&mut answer).expect("its answer");
        let expected = format!("cat (process {})", cat.id());
        let (found, none) = (super::of("/libc.so"), super::of("/no-such-library"));
        drop(input);
        cat.wait().expect("our child");
        assert!(found.contains(&expected), "{found:?}");
        assert_eq!(none, [""; 0]);
    }
}
