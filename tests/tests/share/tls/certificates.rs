//! Authorities and the certificates that they issue, made for one test as `docs/hosts.md` says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pcsc_tests::run;

/// The name of the page's authority.
const NAME: &str = "smart card readers";

/// An authority, in a folder that has its files and those that it issues.
pub struct Authority(tempfile::TempDir);

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Issued {
    /// The arguments of `pcsc share` for it.
    pub fn arguments(&self) -> Vec<String> {
        let [certificate, key] = [&self.certificate, &self.key].map(|path| text(path));
        ["--cert".into(), certificate, "--key".into(), key].into()
    }
}

/// The commands that make an authority, and those that make a certificate.
fn commands() -> (&'static str, &'static str) {
    let page = include_str!("../../../../docs/hosts.md");
    let (_, block) = page.split_once("```sh\n").expect("commands");
    let (block, _) = block.split_once("```").expect("their end");
    block.split_once("\n\n").expect("two parts")
}

fn shell(folder: &Path, commands: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", commands]).current_dir(folder);
    run(&mut shell, Duration::from_secs(300)).stdout();
}

impl Authority {
    pub fn new() -> Authority {
        Authority::named(NAME)
    }

    /// One with another name.
    pub fn named(name: &str) -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let commands = commands().0;
        assert!(commands.contains(NAME), "{commands}");
        shell(folder.path(), &commands.replace(NAME, name));
        Authority(folder)
    }

    /// The file of its own certificate.
    pub fn file(&self) -> String {
        text(&self.0.path().join("ca.pem"))
    }

    /// A certificate for a DNS name, and for 127.0.0.1.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_with(name, ("", ""))
    }

    /// A certificate for a DNS name and another address.
    pub fn issue_at(&self, name: &str, address: &str) -> Issued {
        self.issue_with(name, ("IP:127.0.0.1", &format!("IP:{address}")))
    }

    /// One that has expired.
    pub fn issue_expired(&self, name: &str) -> Issued {
        self.issue_with(name, ("-days 365", "-days -1"))
    }

    /// One for a DNS name alone.
    pub fn issue_without_address(&self, name: &str) -> Issued {
        self.issue_with(name, (",IP:127.0.0.1", ""))
    }

    /// The commands of the page, with names and a change.
    fn issue_with(&self, name: &str, (from, to): (&str, &str)) -> Issued {
        let example = "host=a.example names=DNS:a.example";
        let ours = format!("host={name} names=DNS:{name},IP:127.0.0.1");
        let commands = commands().1;
        assert!(commands.contains(example), "{commands}");
        let commands = commands.replace(example, &ours);
        assert!(commands.contains(from), "{commands}");
        shell(self.0.path(), &commands.replace(from, to));
        let file = |ending: &str| self.0.path().join(format!("{name}.{ending}"));
        Issued {
            certificate: file("pem"),
            key: file("key"),
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
