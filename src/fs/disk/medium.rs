//! Is a directory on this machine?

use std::io;
use std::os::fd::AsFd;

use crate::fs::Medium;

/// File systems whose locks or mappings may lie, by the number that Linux gives them in `statfs`.
///
/// FUSE stands for virtiofs and every file system in user space: one number for them all, and nothing tells
/// what is behind it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NETWORK: &[(u32, &str)] = &[
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0xaad7_aaea, "PanFS"),
    (0xbeef_dead, "StorNext"),
    (0x6163_6673, "ACFS"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
    (0x7c7c_6673, "Parallels"),
];

/// Where the open directory lies.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn of(dir: impl AsFd) -> io::Result<Medium> {
    // The type of the field differs between machines; the numbers have 32 bits on all of them.
    let number = rustix::fs::fstatfs(dir)?.f_type as u32;
    let known = NETWORK.iter().find(|(network, _)| *network == number);
    Ok(known.map_or(Medium::Local, |(_, name)| Medium::Network(name)))
}

/// Where the open directory lies.
#[cfg(target_os = "macos")]
pub(super) fn of(dir: impl AsFd) -> io::Result<Medium> {
    const NAMES: &[(&str, &str)] = &[
        ("nfs", "NFS"),
        ("smbfs", "SMB"),
        ("afpfs", "AFP"),
        ("webdav", "WebDAV"),
        ("ftp", "FTP"),
        ("macfuse", "FUSE"),
        ("osxfuse", "FUSE"),
        ("virtiofs", "virtiofs"),
        ("AppleVirtIOFS", "virtiofs"),
    ];
    // The system marks what is on this machine; a file system in user space may claim that, so names go first.
    const MNT_LOCAL: u32 = 0x1000;
    let stat = rustix::fs::fstatfs(dir)?;
    let name: String =
        stat.f_fstypename.iter().map(|c| char::from(*c as u8)).take_while(|c| *c != '\0').collect();
    if let Some((_, known)) = NAMES.iter().find(|(fs, _)| *fs == name) {
        return Ok(Medium::Network(known));
    }
    if stat.f_flags & MNT_LOCAL == 0 {
        Ok(Medium::Network("a network file system"))
    } else {
        Ok(Medium::Local)
    }
}

/// Where the open directory lies: other systems are not told apart.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
pub(super) fn of(_dir: impl AsFd) -> io::Result<Medium> {
    Ok(Medium::Local)
}
