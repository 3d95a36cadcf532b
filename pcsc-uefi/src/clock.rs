//! A monotonic clock. Boot services have timers but no clock: the processor's counter is measured against
//! `Stall` once.

use core::time::Duration;

/// A clock that starts at 0.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: u64,
    ticks_per_second: u64,
}

/// How long the counter is measured each time, and how often. A virtual machine that does not run meanwhile
/// makes a measurement too long, never too short: the least counts.
const MEASUREMENT: Duration = Duration::from_millis(1);
const MEASUREMENTS: u32 = 5;

impl Clock {
    /// Starts a clock. Takes 5 ms where the counter's frequency must be measured.
    pub fn start() -> Clock {
        let ticks_per_second = counter::frequency().unwrap_or_else(|| {
            let measure = |_| {
                let before = counter::read();
                uefi::boot::stall(MEASUREMENT);
                counter::read().saturating_sub(before)
            };
            let ticks = (0..MEASUREMENTS).map(measure).min().unwrap_or(0);
            ticks * (1_000_000 / MEASUREMENT.as_micros() as u64)
        });
        Clock {
            start: counter::read(),
            // A counter that stands still must not divide by zero.
            ticks_per_second: ticks_per_second.max(1),
        }
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        let ticks = counter::read().saturating_sub(self.start);
        let seconds = ticks / self.ticks_per_second;
        let rest =
            u128::from(ticks % self.ticks_per_second) * 1_000_000_000 / u128::from(self.ticks_per_second);
        Duration::new(seconds, rest as u32)
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
mod counter {
    #[cfg(target_arch = "x86")]
    use core::arch::x86::_rdtsc;
    #[cfg(target_arch = "x86_64")]
    use core::arch::x86_64::_rdtsc;

    pub fn read() -> u64 {
        // SAFETY: every processor that runs UEFI has RDTSC, and UEFI runs at the privilege level that may use
        // it.
        unsafe { _rdtsc() }
    }

    /// Unknown: it differs between processors.
    pub fn frequency() -> Option<u64> {
        None
    }
}

#[cfg(target_arch = "aarch64")]
mod counter {
    use core::arch::asm;

    pub fn read() -> u64 {
        let value;
        // SAFETY: reads a register, the virtual count, and changes nothing.
        unsafe { asm!("mrs {}, cntvct_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub fn frequency() -> Option<u64> {
        let value: u64;
        // SAFETY: reads a register, the count's frequency, and changes nothing.
        unsafe { asm!("mrs {}, cntfrq_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
        Some(value)
    }
}
