//! Hosts with networks of their own, in one machine.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::spawn::{kill, spawn};

/// A network namespace, which programs of the test can be started in. It ends with the test.
#[derive(Debug)]
pub struct Network {
    /// Keeps it.
    child: Child,
}

impl Network {
    /// Makes one with a loopback interface alone.
    ///
    /// # Errors
    /// Why it cannot be made, for a test that is skipped then: it takes root, and the program `ip`.
    pub fn new() -> Result<Network, String> {
        let mut command = Command::new("setpriv");
        let script = "ip link set lo up && echo ready && exec cat";
        command
            .args(["--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = spawn(command).map_err(|error| error.to_string())?;
        let mut said = [0; 6];
        let output = child.stdout.as_mut().expect("a pipe");
        let is_made = output.read_exact(&mut said).is_ok();
        let network = Network { child };
        if is_made {
            Ok(network)
        } else {
            Err("unshare --net or ip has failed".into())
        }
    }

    /// What to put before a program and its arguments.
    pub fn enter(&self) -> [String; 2] {
        [
            "nsenter".into(),
            format!("--net=/proc/{}/ns/net", self.child.id()),
        ]
    }

    /// Runs `ip` there, with the words of `arguments`.
    ///
    /// # Errors
    /// What it says if it fails.
    pub fn ip(&self, arguments: &str) -> Result<(), String> {
        let [program, namespace] = self.enter();
        let output = Command::new(program)
            .arg(namespace)
            .arg("ip")
            .args(arguments.split_whitespace())
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!(
                "ip {arguments}: {}",
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }

    /// Connects it to another one by a cable, whose ends have the name `cable` and these addresses, such as
    /// `192.0.2.1/30`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn connect(&self, other: &Network, cable: &str, addresses: [&str; 2]) -> Result<(), String> {
        let pid = other.child.id();
        self.ip(&format!(
            "link add {cable} type veth peer name {cable} netns {pid}"
        ))?;
        for (end, address) in [self, other].into_iter().zip(addresses) {
            end.ip(&format!("addr add {address} dev {cable}"))?;
            end.ip(&format!("link set {cable} up"))?;
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
