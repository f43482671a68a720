//! A device whose packets come to this process, which lets them go on late, in another order, or not at all.
#![allow(unsafe_code)] // One system call has no safe form: see `attach`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::ioctl;

use super::super::Bad;

/// What makes such devices.
pub const TUN: &str = "/dev/net/tun";
/// Largest packet, bytes.
const PACKET_BYTES_MAX: usize = 65_536;
/// `TUNSETIFF`, the same on all Linux that this runs on.
const ATTACH: ioctl::Opcode = ioctl::opcode::write::<i32>(b'T', 202);
/// IP packets without a header of the device's: `IFF_TUN | IFF_NO_PI`.
const FLAGS: u16 = 0x1001;

/// `struct ifreq`, as far as it is used here.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// The device.
pub struct Wire {
    bad: Arc<Mutex<Bad>>,
}

fn attach(file: &File, name: &str) -> io::Result<()> {
    let mut request = Request { name: [0; 16], flags: FLAGS, rest: [0; 22] };
    for (to, from) in request.name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq` of 40 bytes, which is what `Request` is.
    unsafe {
        let call = ioctl::Setter::<{ ATTACH }, Request>::new(request);
        ioctl::ioctl(file.as_fd(), call)?;
    }
    Ok(())
}

impl Wire {
    /// Makes the device, and a thread that serves it as long as this process lives.
    pub fn open(name: &str, seed: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(TUN)?;
        attach(&file, name)?;
        let bad = Arc::new(Mutex::new(Bad { delay_ms: 0, jitter_ms: 0, loss_percent: 0 }));
        let wire = Self { bad: bad.clone() };
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("wire".to_owned())
            .spawn(move || serve(&file, &bad, seed, &runtime))?;
        Ok(wire)
    }

    /// From now on packets fare like this.
    pub fn set(&self, bad: Bad) {
        *self.bad.lock() = bad;
    }
}

fn serve(file: &File, bad: &Mutex<Bad>, seed: u64, runtime: &tokio::runtime::Handle) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut packet = vec![0; PACKET_BYTES_MAX];
    let mut reader = file;
    while let Ok(length) = reader.read(&mut packet) {
        let now = *bad.lock();
        if random.random_range(0..100) < now.loss_percent {
            continue;
        }
        let late = now.delay_ms + random.random_range(0..=now.jitter_ms);
        let Ok(out) = file.try_clone() else { return };
        let packet = packet[..length].to_vec();
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(late)).await;
            // A packet that the kernel does not take is a lost one.
            let _ = (&out).write(&packet);
        });
    }
}
