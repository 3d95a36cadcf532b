//! Published card applications in the readers of a vpcd driver.

use std::process::{Child, Command, Stdio};

use crate::artifacts;
use crate::spawn::spawn;

/// Where a vpcd driver waits for its first card; the second one's port follows.
pub(crate) const VPCD_PORT: usize = 35963;

/// Gives the process that executes what follows a network of its own.
pub(crate) const IN_NETWORK: &str = r#"busybox ip link set lo up; exec "$@""#;

/// A program of `tests/cards` that is a card. Dropping it takes the card out.
#[derive(Debug)]
pub(crate) struct VirtualCard(Child);

impl VirtualCard {
    /// Inserts an application into slot `number` of the driver, which listens in the network of process
    /// `pid`.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[track_caller]
    pub(crate) fn insert(application: &str, pid: u32, number: usize) -> VirtualCard {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/proc/{pid}/ns/net"))
            .arg(artifacts::card(application))
            .arg(format!("127.0.0.1:{}", VPCD_PORT + number))
            .stdin(Stdio::null());
        VirtualCard(spawn(command).expect("setpriv can be started"))
    }
}

impl Drop for VirtualCard {
    fn drop(&mut self) {
        // Both fail only for a process that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
