//! The first file system of the guest: busybox, modules and a script, in the kernel's archive format (cpio,
//! `newc`).

use super::error::Error;
use super::host::program;
use super::modules;
use super::script::SHARE;
use std::fs;
use std::path::Path;

/// File systems over virtio, the layer over the host's files, and both kinds of USB host: QEMU's controller
/// and USB/IP.
const MODULES: &[&str] = &[
    "9pnet_virtio",
    "9p",
    "virtio_pci",
    "overlay",
    "xhci-pci",
    "vhci-hcd",
];

/// The archive, with what is in `kernel_modules`.
pub(super) fn build(kernel_modules: &Path) -> Result<Vec<u8>, Error> {
    let busybox = program("busybox").ok_or_else(|| Error::Failed("no busybox: run scripts/setup".into()))?;
    let modules = modules::load(kernel_modules, MODULES)?;
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "host", "modules", "proc", "root", "sys", "upper"] {
        archive.folder(folder);
    }
    archive.file("bin/busybox", &fs::read(busybox)?);
    for (name, bytes) in &modules {
        archive.file(&format!("modules/{name}.ko"), bytes);
    }
    let order: Vec<_> = modules.iter().map(|(name, _)| name.as_str()).collect();
    archive.file("init", init(&order).as_bytes());
    Ok(archive.end())
}

/// The guest's first process. Should it or what it starts end before its time, the kernel panics, and QEMU
/// ends (`-no-reboot`).
fn init(modules: &[&str]) -> String {
    format!(
        r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in {modules}; do
    $b insmod /modules/$module.ko || echo "init: $module does not load"
done
# libccid's udev rules let the kernel suspend readers, but vhci-hcd resumes one port at a time: a second one
# is taken for unplugged.
echo -1 >/sys/module/usbcore/parameters/autosuspend
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,ro root /host
$b mount -t tmpfs upper /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work root /root
$b mkdir -p /root{SHARE}
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 lab /root{SHARE}
# What the host's processes have there is none of the guest's business.
$b mount -t tmpfs run /root/run
$b ip link set lo up
for folder in dev proc sys; do
    $b mount --move /$folder /root/$folder
done
exec $b switch_root /root /bin/sh {SHARE}/start
"#,
        modules = modules.join(" "),
    )
}

/// A cpio archive in the making.
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: usize,
}

impl Archive {
    fn folder(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    /// A file that can be executed.
    fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, content);
    }

    fn entry(&mut self, name: &str, mode: usize, content: &[u8]) {
        self.entries += 1;
        // Inode, mode, user, group, links, time, size; device and represented device, in two parts each;
        // name's length, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            content.len(),
            0,
            0,
            0,
            0,
            name.len() + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
